// Publish from Node.js with node-postgres (pg).  An object becomes JSON by itself; a payload that is an array has to be
// made JSON first, as arrays become PostgreSQL's.  Ids come as strings, since they are larger than a double's integers.

const { Client } = require('pg');

(async () => {
    const client = new Client();
    await client.connect();
    let res = await client.query('SELECT eda.publish($1, $2, key => $3, idempotency_key => $4) AS id',
        ['client.node', { n: 1 }, 'customer 7', 'node 1']);
    console.log('event', res.rows[0].id);
    res = await client.query('SELECT eda.publish_batch($1, $2, idempotency_keys => $3) AS ids',
        ['client.node', [{ n: 2 }, { n: 3 }], ['node 2', 'node 3']]);
    console.log('events', res.rows[0].ids);
    res = await client.query('SELECT eda.publish($1, $2) AS id', ['client.node.list', JSON.stringify([1, 2])]);
    await client.end();
})().catch((error) => { console.error(error.message); process.exit(1); });
