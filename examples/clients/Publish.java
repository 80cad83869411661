// Publish from Java with JDBC.  setString() sends a varchar, which is no jsonb: say ?::jsonb.
// java -cp postgresql.jar Publish.java jdbc:postgresql://localhost/shop?user=shop

import java.sql.*;

public class Publish {
    public static void main(String[] args) throws SQLException {
        try (Connection conn = DriverManager.getConnection(args[0])) {
            conn.setAutoCommit(false);
            try (PreparedStatement publish = conn.prepareStatement(
                    "SELECT eda.publish(?, ?::jsonb, key => ?, idempotency_key => ?)")) {
                publish.setString(1, "client.jdbc");
                publish.setString(2, "{\"n\": 1}");
                publish.setString(3, "customer 7");
                publish.setString(4, "jdbc 1");
                try (ResultSet rs = publish.executeQuery()) {
                    rs.next();
                    System.out.println("event " + rs.getLong(1));
                }
            }
            try (PreparedStatement batch = conn.prepareStatement(
                    "SELECT eda.publish_batch(?, ?, idempotency_keys => ?)")) {
                batch.setString(1, "client.jdbc");
                batch.setArray(2, conn.createArrayOf("jsonb", new String[] {"{\"n\": 2}", "{\"n\": 3}"}));
                batch.setArray(3, conn.createArrayOf("text", new String[] {"jdbc 2", "jdbc 3"}));
                try (ResultSet rs = batch.executeQuery()) {
                    rs.next();
                    System.out.println("events " + rs.getArray(1));
                }
            }
            conn.commit();          // from here on they are delivered
        }
    }
}
