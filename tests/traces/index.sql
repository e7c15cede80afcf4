CREATE TABLE trip(id INTEGER PRIMARY KEY, rider TEXT, minutes INTEGER, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
INSERT INTO trip SELECT i, 'rider' || (i * 7919 % 10007), i * 31 % 240,
  substr('the quick brown fox jumps over the lazy dog again and again', 1 + i % 20, 10 + i % 40) FROM n;
CREATE INDEX trip_by_rider ON trip(rider, minutes);
CREATE INDEX trip_by_note ON trip(note, rider);
SELECT rider, count(*), sum(minutes) FROM trip GROUP BY rider ORDER BY 3 DESC LIMIT 5;
SELECT count(*) FROM (SELECT DISTINCT note, minutes FROM trip);
DELETE FROM trip WHERE minutes < 60;
VACUUM;
SELECT count(*) FROM trip a JOIN trip b ON a.note = b.note AND a.rider = b.rider;
