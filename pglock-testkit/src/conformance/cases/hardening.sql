CREATE DATABASE locks;
REVOKE CONNECT, TEMPORARY ON DATABASE locks FROM PUBLIC;
CREATE ROLE locker LOGIN PASSWORD '…' CONNECTION LIMIT 40;  -- processes × (shared + waiting sessions)
GRANT CONNECT ON DATABASE locks TO locker;

\connect locks
DO $$
DECLARE
  f regprocedure;
BEGIN
  FOR f IN SELECT oid FROM pg_catalog.pg_proc
            WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^pg_(try_)?advisory_'  -- all 21
  LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO locker', f);
  END LOOP;
END $$;
