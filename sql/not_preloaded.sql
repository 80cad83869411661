-- A server that does not preload the library: everything works but delivery, and it says so.
CREATE ROLE regress_eda_app LOGIN;
CREATE FUNCTION public.regress_eda_f(jsonb) RETURNS void LANGUAGE sql AS '';
SELECT eda.subscribe('idle', 'regress.a', 'regress_eda_f', owner => 'regress_eda_app');
-- a superuser as owner is warned of, too
SELECT eda.subscribe('root', 'regress.a', 'regress_eda_f');
SELECT eda.publish('regress.a') > 0 AS published;
SELECT subscription, state, blocked_reason, blocked_detail, backlog, oldest_age >= '0' AS has_age, in_flight
  FROM eda.subscriptions ORDER BY subscription;
SELECT count(*) FROM eda.workers;
-- definitions can be changed
SELECT eda.pause('idle');
SELECT eda.alter_subscription('idle', '{"batch_size": 7}');
SELECT eda.subscription_def('idle');
SELECT eda.unsubscribe('idle'), eda.unsubscribe('root');
DROP FUNCTION public.regress_eda_f(jsonb);
DROP ROLE regress_eda_app;
