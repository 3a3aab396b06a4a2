-- What the application does, again and again: a customer moves, another spends, one comes, now and then one goes.
UPDATE customers SET city = (ARRAY['Graz', 'Linz', 'Gent', 'Cork', 'Lyon'])[1 + floor(random() * 5)], updated_at = now()::timestamp
  WHERE id = (SELECT id FROM customers ORDER BY random() LIMIT 1);
UPDATE customers SET balance_cents = balance_cents + floor(random() * 20000)::bigint, updated_at = now()::timestamp
  WHERE id IN (SELECT id FROM customers ORDER BY random() LIMIT 5);
-- Its columns by name: it knows nothing of one that is added.
INSERT INTO customers (id, email, phone, national_id, card_number, full_name, street, birth_date, notes, city, country, balance_cents, updated_at)
  SELECT * FROM invented(nextval('customer'));
DELETE FROM customers WHERE random() < 0.2 AND id = (SELECT id FROM customers ORDER BY random() LIMIT 1);
