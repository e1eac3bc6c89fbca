<?php
// What the daemon of laravel-async-audit-logger does, without a framework: pops one
// event at a time, and inserts a hundred at a time, with a statement prepared for each
// batch, as Laravel's query builder does. Ends when the list is empty, and says how
// long it took.

$with = json_decode($argv[2], true);
$redis = new Redis();
$redis->connect('127.0.0.1', $with['redis']);
$options = [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_EMULATE_PREPARES => false];
$database = new PDO($with['dsn'], $with['user'], null, $options);

$flush = function (array $rows) use ($database) {
    $columns = array_keys($rows[0]);
    $row = '(' . implode(', ', array_fill(0, count($columns), '?')) . ')';
    $sql = 'insert into audits (' . implode(', ', $columns) . ') values '
        . implode(', ', array_fill(0, count($rows), $row));
    $statement = $database->prepare($sql);
    $place = 1;
    foreach ($rows as $values) {
        foreach ($values as $value) {
            $type = is_null($value) ? PDO::PARAM_NULL : (is_int($value) ? PDO::PARAM_INT : PDO::PARAM_STR);
            $statement->bindValue($place++, $value, $type);
        }
    }
    $statement->execute();
};

$begun = hrtime(true);
$buffer = [];
while (($raw = $redis->lPop($with['key'])) !== false) {
    $row = json_decode($raw, true);
    if (is_array($row)) {
        $buffer[] = $row;
    }
    if (count($buffer) >= 100) {
        $flush($buffer);
        $buffer = [];
    }
}
if ($buffer) {
    $flush($buffer);
}
echo (hrtime(true) - $begun) / 1e9;
