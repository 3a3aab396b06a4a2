-- A thousand customers, all of them invented: card numbers under a prefix that no issuer uses, telephone numbers from the range that is
-- kept for fiction.
CREATE TABLE customers (
  id bigint PRIMARY KEY, email text NOT NULL, phone text NOT NULL, national_id text NOT NULL, card_number text NOT NULL,
  full_name text NOT NULL, street text NOT NULL, birth_date date NOT NULL, notes text, city text NOT NULL, country text NOT NULL,
  balance_cents bigint NOT NULL, updated_at timestamp(6) NOT NULL);
CREATE SEQUENCE customer START 7341001;
CREATE FUNCTION invented(n bigint) RETURNS TABLE (id bigint, email text, phone text, national_id text, card_number text, full_name text,
  street text, birth_date date, notes text, city text, country text, balance_cents bigint, updated_at timestamp) LANGUAGE sql VOLATILE AS $$
  SELECT n, 'ada.berg' || n || '@example.com', '+1555' || lpad((5550100 + n % 100)::text, 7, '0'), lpad((n * 7919 % 100000000000)::text, 11, '0'),
    '9999' || lpad((n * 104729 % 1000000000000)::text, 12, '0'), 'Ada Berg', 'Mill Street ' || n % 300, date '1950-01-01' + (n * 37 % 20000)::int,
    CASE n % 3 WHEN 0 THEN 'write to ada.berg' || n || '@example.com please' WHEN 1 THEN 'called about an order' END,
    'Graz', (ARRAY['AT', 'DE', 'CH'])[1 + n % 3], n * 31 % 2000000, now()::timestamp
$$;
INSERT INTO customers SELECT row.* FROM generate_series(7340001, 7341000) AS n, LATERAL invented(n) AS row;
