-- What a handler says about its event; waiting for delivery, and doing it here and now.

CREATE FUNCTION eda.reject(reason text)
RETURNS void LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_reject';
COMMENT ON FUNCTION eda.reject(text) IS
'in a handler: give up on this event, it becomes a dead letter with reason rejected; raises, so what the handler did is undone';

CREATE FUNCTION eda.retry_after(delay interval)
RETURNS void LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_retry_after';
COMMENT ON FUNCTION eda.retry_after(interval) IS
'in a handler: fail now and try again after the delay; counts as an attempt; raises, so what the handler did is undone';

CREATE FUNCTION eda.snooze(delay interval)
RETURNS void LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_snooze';
COMMENT ON FUNCTION eda.snooze(interval) IS
'in a handler: put this event off by the delay without counting an attempt; raises, so what the handler did is undone';

CREATE PROCEDURE eda.wait(subscription text DEFAULT NULL, timeout interval DEFAULT '30 seconds',
                          cascade boolean DEFAULT true)
LANGUAGE c AS 'MODULE_PATHNAME', 'eda_wait';
COMMENT ON PROCEDURE eda.wait(text, interval, boolean) IS
'returns when all that was committed before the call, and with cascade what its handlers published, is handled, dead or waiting for a later retry; of a subscription that is named, as far as that one is concerned';

CREATE FUNCTION eda.run_pending(subscription text DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_run_pending';
COMMENT ON FUNCTION eda.run_pending(text) IS
'for tests: handles pending events now, in this transaction, its own included, and returns how many; the transaction can only be rolled back';
