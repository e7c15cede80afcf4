-- Work that fills a page cache, empties it, moves pages and takes changes back. The data come from arithmetic, so every
-- run makes the same ones.
PRAGMA page_size = 4096;
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price INTEGER NOT NULL, note TEXT);
CREATE TABLE sale (id INTEGER PRIMARY KEY, item INTEGER NOT NULL REFERENCES item, amount INTEGER NOT NULL, day INTEGER);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO item SELECT i, printf('item %05d', i * 7919 % 20011), i * 31 % 977, hex(zeroblob(i % 200)) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO sale SELECT i, 1 + i * 104729 % 20000, i * 17 % 13, i % 365 FROM n;
COMMIT;
CREATE INDEX item_name ON item (name);
CREATE INDEX sale_item ON sale (item, day);
SELECT count(*), sum(price), min(name), max(name) FROM item;
SELECT day, sum(amount * price) FROM sale JOIN item ON item.id = sale.item GROUP BY day ORDER BY 2 DESC, 1 LIMIT 5;

BEGIN;
UPDATE item SET note = note || note, price = price + 1 WHERE id % 3 = 0;
SAVEPOINT before_delete;
DELETE FROM sale WHERE day % 2 = 0;
SELECT count(*) FROM sale;
ROLLBACK TO before_delete;
DELETE FROM sale WHERE day % 7 = 0;
COMMIT;
SELECT count(*), sum(amount) FROM sale;
PRAGMA shrink_memory;

BEGIN;
DELETE FROM item WHERE id % 5 = 1;
DROP INDEX item_name;
ROLLBACK;
SELECT count(*), sum(length(note)) FROM item;

CREATE TEMP TABLE best AS SELECT item, sum(amount) AS total FROM sale GROUP BY item;
CREATE INDEX temp.best_total ON best (total);
SELECT name, total FROM best JOIN item ON item.id = best.item ORDER BY total DESC, name LIMIT 5;
ATTACH ':memory:' AS memory;
CREATE TABLE memory.copy AS SELECT * FROM sale ORDER BY amount, id;
SELECT sum(rowid * amount) FROM memory.copy;
DETACH memory;
DELETE FROM sale WHERE item > 10000;
VACUUM;
SELECT count(*) FROM sale WHERE item BETWEEN 100 AND 200;
PRAGMA integrity_check;
