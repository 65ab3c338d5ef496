-- no-transaction
CREATE INDEX CONCURRENTLY invoice_paid_at ON invoice (paid_at);
