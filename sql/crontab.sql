--
-- Schedules in a time zone: when they come due, and what pg_cron gets for them.
--
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';

-- The next n instants, as a clock in the zone and one in UTC show them.
CREATE FUNCTION regress_next(schedule text, zone text, after timestamptz, n int)
RETURNS TABLE (local timestamp, utc timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. n LOOP
        after := eda._schedule_next(schedule, zone, after);
        local := after AT TIME ZONE zone;
        utc := after;
        RETURN NEXT;
    END LOOP;
END $$;

-- Berlin's clocks go forward at 01:00 UTC on 29 March 2026, from 2:00 to 3:00, and back on 25 October, from 3:00 to 2:00
SELECT * FROM regress_next('30 2 * * *', 'Europe/Berlin', '2026-03-28 00:00+00', 3);
SELECT * FROM regress_next('30 2 * * *', 'Europe/Berlin', '2026-10-24 00:00+00', 3);
-- all that is left out comes once, together with what is due then anyway
SELECT * FROM regress_next('*/20 2,3 * * *', 'Europe/Berlin', '2026-03-28 23:00+00', 4);
SELECT * FROM regress_next('0,45 2 * * *', 'Europe/Berlin', '2026-10-24 23:00+00', 3);
-- an hour that exists is not moved
SELECT * FROM regress_next('0 3 * * *', 'Europe/Berlin', '2026-03-28 03:00+00', 2);
SELECT * FROM regress_next('0 0 * * *', 'Europe/Berlin', '2026-10-24 12:00+00', 3);
-- for every hour: real time, without a pause, and nothing twice
SELECT * FROM regress_next('30 * * * *', 'Europe/Berlin', '2026-10-24 23:50+00', 4);
SELECT * FROM regress_next('30 * * * *', 'Europe/Berlin', '2026-03-28 23:50+00', 3);
-- New York
SELECT * FROM regress_next('15 2 * * *', 'America/New_York', '2026-03-07 12:00+00', 2);
SELECT * FROM regress_next('15 1 * * *', 'America/New_York', '2026-10-31 12:00+00', 3);
-- Lord Howe's clocks go by half an hour
SELECT * FROM regress_next('15 2 * * *', 'Australia/Lord_Howe', '2026-10-02 20:00+00', 3);
SELECT * FROM regress_next('45 1 * * *', 'Australia/Lord_Howe', '2026-04-03 20:00+00', 3);
-- Sao Paulo had no midnight on that day
SELECT * FROM regress_next('0 0 * * *', 'America/Sao_Paulo', '2018-11-02 12:00+00', 3);
SELECT * FROM regress_next('30 23 * * *', 'America/Sao_Paulo', '2018-02-16 12:00+00', 3);
-- and Apia had no 30 December 2011
SELECT * FROM regress_next('0 12 * * *', 'Pacific/Apia', '2011-12-29 00:00+00', 4);
SELECT * FROM regress_next('0 0 * * *', 'UTC', '2026-03-28 00:00+00', 2);

-- fields: lists, ranges, steps, names, in any case
SELECT schedule, string_agg(to_char(utc, 'Dy MM-DD HH24:MI'), ', ') AS next
  FROM (VALUES ('0 0 1 * *'), ('0 0 $ * *'), ('0 12 29 2 *'), ('0 0 1-7/3 jan,JUL *'), ('0 6 * * mon-Fri'), ('0 6 * * 7'), ('0 6 * * 0'),
               ('0 6 13 * fri'), ('0 6 */10 * fri'), ('0 6 13 * */2'), ('5,10-20/5 23 31 dec *'), ('@yearly'), ('@annually'), ('@monthly'),
               ('@weekly'), ('@daily'), ('@midnight'), ('@hourly'), ('  0	0  * * *  '), ('30 seconds'), ('1 second')) v (schedule),
       LATERAL regress_next(schedule, 'UTC', '2026-02-12 10:00+00', 3)
 GROUP BY schedule ORDER BY schedule COLLATE "C";
-- what is not understood, or never due
SELECT schedule FROM (VALUES (''), ('* * * *'), ('* * * * * *'), ('60 * * * *'), ('* 24 * * *'), ('* * 0 * *'), ('* * 32 * *'), ('* * * 13 *'), ('* * * * 8'),
                             ('1/5 * * * *'), ('*/0 * * * *'), ('*/61 * * * *'), ('5-1 * * * *'), ('1, * * * *'), ('-1 * * * *'), ('x * * * *'),
                             ('1x * * * *'), ('* * * foo *'), ('mon * * * *'), ('* * $1 * *'), ('@never'), ('@reboot'), ('60 seconds'), ('0 seconds'),
                             ('5 minutes'), ('0 0 30 2 *'), ('0 0 31 feb,apr *'), (repeat('1', 5000) || ' * * * *')) v (schedule)
 WHERE eda._schedule_next(schedule, 'UTC', '2026-02-12 10:00+00') IS NOT NULL;
SELECT eda._schedule_next('0 0 * * *', 'Europe/Nowhere', now());
SELECT eda._schedule_next('0 0 * * *', NULL, '2026-02-12 10:00+00');
SELECT eda._schedule_next(NULL, 'UTC', now());
SELECT eda._schedule_next('0 0 * * *', 'UTC', 'infinity'), eda._schedule_next('0 0 * * *', 'UTC', '-infinity');

-- What pg_cron gets, in its own zone.
SELECT zone, cron, schedule, eda._schedule_widened(schedule, zone, cron) AS widened
  FROM (VALUES ('Europe/Berlin', 'GMT', '0 0 * * *'), ('Europe/Berlin', 'GMT', '30 2 * * *'), ('Europe/Berlin', 'GMT', '30 2 1 * *'),
               ('Europe/Berlin', 'GMT', '0 7 * * mon-fri'), ('Europe/Berlin', 'GMT', '0 0 $ 12 *'), ('Europe/Berlin', 'GMT', '0 0 13 * fri'),
               ('Europe/Berlin', 'GMT', '*/15 * * * *'), ('UTC', 'GMT', '5 4 * * *'), ('Asia/Kolkata', 'GMT', '0 9-17 * * *'),
               ('Europe/Berlin', 'America/New_York', '0 0 * * *'), ('Australia/Lord_Howe', 'Europe/Berlin', '15 2 * * *')) v (zone, cron, schedule);
-- Each instant is one of what pg_cron gets: for three years of them.
CREATE FUNCTION regress_missing(schedule text, zone text, cron text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    widened text := eda._schedule_widened(schedule, zone, cron);
    due timestamptz := now();
    missing bigint := 0;
BEGIN
    LOOP
        due := eda._schedule_next(schedule, zone, due);
        EXIT WHEN due > now() + interval '3 years' OR due IS NULL;
        -- what a clock in pg_cron's zone shows then, read as a time in UTC
        IF eda._schedule_next(widened, 'UTC', (due AT TIME ZONE cron) AT TIME ZONE 'UTC' - interval '1 minute')
           IS DISTINCT FROM (due AT TIME ZONE cron) AT TIME ZONE 'UTC' THEN
            missing := missing + 1;
        END IF;
    END LOOP;
    RETURN missing;
END $$;
SELECT zone, cron, schedule, regress_missing(schedule, zone, cron)
  FROM (VALUES ('Europe/Berlin'), ('America/New_York'), ('Australia/Lord_Howe'), ('America/Sao_Paulo'), ('Asia/Kathmandu'), ('Africa/Casablanca'),
               ('Pacific/Apia')) z (zone),
       (VALUES ('GMT'), ('America/New_York'), ('Australia/Lord_Howe')) c (cron),
       (VALUES ('30 2 * * *'), ('15,45 1,2 1,15 * *'), ('15 0 $ * *'), ('0 0 1 * *'), ('0 0 31 * *'), ('55 23 * 3-4 sun,mon'), ('0 0 29 2 *')) s (schedule)
 WHERE regress_missing(schedule, zone, cron) <> 0;

DROP FUNCTION regress_next, regress_missing;
RESET TimeZone;
RESET DateStyle;
