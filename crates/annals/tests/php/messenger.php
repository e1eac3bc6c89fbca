<?php

// A small application on Symfony's Messenger, for the tests: it dispatches messages to
// a Doctrine transport, works through them, and shows what failed, all by Messenger's
// own code. Each run is one command; what it is told comes as JSON in the arguments.

namespace App\Message {
    final class AuditEventMessage
    {
        public function __construct(
            public string $action,
            public string $entityClass,
            public ?string $entityId,
            public ?string $userId,
            public ?string $userEmail,
            public \DateTimeImmutable $timestamp,
            public ?string $ipAddress,
            public ?string $userAgent,
            public array $changes,
            public ?string $username = null,
        ) {
        }
    }

    class Hidden
    {
        protected ?string $userId = null;

        public function __construct(private string $action, private string $entityClass)
        {
        }
    }

    final class PrivateAuditMessage extends Hidden
    {
        private \DateTimeImmutable $timestamp;
        private array $seen;

        public function __construct(private string $entityId, private Level $level, private object $extra)
        {
            parent::__construct('entity_updated', 'App\\Entity\\Order');
            $this->userId = '7';
            $this->timestamp = new \DateTimeImmutable('2026-11-22 10:00:00.25 Europe/Paris');
            $this->seen = [$extra, $extra];
        }

        public function getEntityId(): string
        {
            return $this->entityId;
        }
    }

    enum Level: string
    {
        case Low = 'l';
        case High = 'h';
    }

    final class OtherMessage
    {
        public function __construct(public string $entityId, public string $text)
        {
        }
    }
}

namespace {
    use App\Message\AuditEventMessage;
    use App\Message\Level;
    use App\Message\OtherMessage;
    use App\Message\PrivateAuditMessage;
    use Doctrine\DBAL\DriverManager;
    use Symfony\Component\Console\Input\ArrayInput;
    use Symfony\Component\Console\Output\StreamOutput;
    use Symfony\Component\DependencyInjection\ServiceLocator;
    use Symfony\Component\EventDispatcher\EventDispatcher;
    use Symfony\Component\Messenger\Bridge\Doctrine\Transport\Connection;
    use Symfony\Component\Messenger\Bridge\Doctrine\Transport\DoctrineTransport;
    use Symfony\Component\Messenger\Bridge\Doctrine\Transport\PostgreSqlConnection;
    use Symfony\Component\Messenger\Command\FailedMessagesShowCommand;
    use Symfony\Component\Messenger\Envelope;
    use Symfony\Component\Messenger\Event\WorkerRunningEvent;
    use Symfony\Component\Messenger\EventListener\AddErrorDetailsStampListener;
    use Symfony\Component\Messenger\EventListener\SendFailedMessageForRetryListener;
    use Symfony\Component\Messenger\EventListener\SendFailedMessageToFailureTransportListener;
    use Symfony\Component\Messenger\Handler\HandlersLocator;
    use Symfony\Component\Messenger\MessageBus;
    use Symfony\Component\Messenger\Middleware\AddBusNameStampMiddleware;
    use Symfony\Component\Messenger\Middleware\HandleMessageMiddleware;
    use Symfony\Component\Messenger\Middleware\SendMessageMiddleware;
    use Symfony\Component\Messenger\Retry\MultiplierRetryStrategy;
    use Symfony\Component\Messenger\Stamp\SentToFailureTransportStamp;
    use Symfony\Component\Messenger\Transport\Sender\SendersLocator;
    use Symfony\Component\Messenger\Transport\Serialization\Normalizer\FlattenExceptionNormalizer;
    use Symfony\Component\Messenger\Transport\Serialization\PhpSerializer;
    use Symfony\Component\Messenger\Transport\Serialization\Serializer;
    use Symfony\Component\Messenger\Worker;
    use Symfony\Component\Serializer\Encoder\JsonEncoder;
    use Symfony\Component\Serializer\Normalizer\ArrayDenormalizer;
    use Symfony\Component\Serializer\Normalizer\DateTimeNormalizer;
    use Symfony\Component\Serializer\Normalizer\ObjectNormalizer;

    error_reporting(\E_ALL & ~\E_DEPRECATED & ~\E_USER_DEPRECATED);
    foreach (['Symfony/Component/Messenger', 'Symfony/Component/Console', 'Symfony/Component/EventDispatcher',
        'Symfony/Component/DependencyInjection', 'Symfony/Component/ErrorHandler',
        'Symfony/Component/PropertyAccess', 'Symfony/Component/Serializer', 'Doctrine/DBAL'] as $package) {
        require_once "$package/autoload.php";
    }

    [, $command, $json] = $argv;
    $told = json_decode($json, true, 512, \JSON_THROW_ON_ERROR) + [
        'queue' => 'async', 'serializer' => 'php', 'class' => 'audit', 'redeliver_timeout' => 3600,
    ];

    function database(string $url): Doctrine\DBAL\Connection
    {
        $parts = parse_url($url);
        if ('sqlite' === ($parts['scheme'] ?? 'sqlite')) {
            return DriverManager::getConnection(['driver' => 'pdo_sqlite', 'path' => substr($url, 7)]);
        }

        return DriverManager::getConnection([
            'driver' => 'mysql' === $parts['scheme'] ? 'pdo_mysql' : 'pdo_pgsql',
            'host' => $parts['host'], 'port' => $parts['port'], 'user' => $parts['user'],
            'password' => $parts['pass'] ?? '', 'dbname' => trim($parts['path'], '/'),
        ] + ('mysql' === $parts['scheme'] ? ['charset' => 'utf8mb4'] : []));
    }

    function transport(array $told, string $queue): DoctrineTransport
    {
        $database = database($told['database']);
        $configuration = ['queue_name' => $queue, 'redeliver_timeout' => $told['redeliver_timeout']];
        $connection = $database->getDatabasePlatform() instanceof Doctrine\DBAL\Platforms\PostgreSQLPlatform
            // Asks each time, and is so as quick as it can be.
            ? new PostgreSqlConnection($configuration + ['use_notify' => false, 'check_delayed_interval' => 0], $database)
            : new Connection($configuration, $database);
        $serializer = 'php' === $told['serializer'] ? new PhpSerializer() : new Serializer(
            new Symfony\Component\Serializer\Serializer(
                [new FlattenExceptionNormalizer(), new DateTimeNormalizer(), new ArrayDenormalizer(), new ObjectNormalizer()],
                [new JsonEncoder()]
            )
        );

        return new DoctrineTransport($connection, $serializer);
    }

    function message(array $told, int $number): object
    {
        $id = isset($told['poison']) && 0 === $number % $told['poison'] ? "poison-$number" : (string) $number;
        if ('other' === $told['class']) {
            // Its text is what a message of the other class looks like.
            return new OtherMessage($id, "\0message\";O:29:\"App\\Message\\AuditEventMessage\":");
        }
        if ('private' === $told['class']) {
            return new PrivateAuditMessage($id, Level::High, (object) ['note' => "it's \"$id\" \\"]);
        }

        return new AuditEventMessage(
            'entity_updated', 'App\\Entity\\Course', $id, '7', 'ada@example.test',
            new \DateTimeImmutable('2026-11-22 10:00:00', new \DateTimeZone('UTC')), '203.0.113.9',
            ($told['binary'] ?? false) ? "caf\xe9" : 'Mozilla/5.0',
            ['price' => [$number, $number + 0.5], 'name' => ['alt', 'neu “ü”']], 'ada'
        );
    }

    $async = transport($told, $told['queue']);
    $failed = transport($told, 'failed');

    switch ($command) {
        case 'setup':
            $async->setup();
            break;

        case 'produce':
            $locator = new ServiceLocator(['async' => fn () => $async]);
            $bus = new MessageBus([
                new AddBusNameStampMiddleware('messenger.bus.default'),
                new SendMessageMiddleware(new SendersLocator(['*' => ['async']], $locator)),
            ]);
            for ($number = $told['from']; $number < $told['from'] + $told['count']; ++$number) {
                $bus->dispatch(message($told, $number));
            }
            break;

        case 'consume':
            $handle = function (object $message) use ($told) {
                $id = $message instanceof PrivateAuditMessage ? $message->getEntityId() : $message->entityId;
                if (str_starts_with($id, 'poison')) {
                    throw new \RuntimeException("will not handle $id");
                }
                $line = ($told['whole'] ?? false) ? json_encode($message) : $id;
                file_put_contents($told['file'], "$line\n", \FILE_APPEND | \LOCK_EX);
            };
            $bus = new MessageBus([
                new AddBusNameStampMiddleware('messenger.bus.default'),
                new HandleMessageMiddleware(new HandlersLocator(['*' => [$handle]])),
            ]);
            $events = new EventDispatcher();
            $senders = new ServiceLocator(['async' => fn () => $async]);
            $strategy = new MultiplierRetryStrategy(3, $told['delay'] ?? 1000, 2);
            $events->addSubscriber(new AddErrorDetailsStampListener());
            $events->addSubscriber(new SendFailedMessageForRetryListener(
                $senders, new ServiceLocator(['async' => fn () => $strategy])
            ));
            $events->addSubscriber(new SendFailedMessageToFailureTransportListener(
                new ServiceLocator(['async' => fn () => $failed])
            ));
            $handled = 0;
            $events->addListener(WorkerRunningEvent::class, function (WorkerRunningEvent $event) use ($told, &$handled) {
                $handled += $event->isWorkerIdle() ? 0 : 1;
                if ($handled >= ($told['limit'] ?? \PHP_INT_MAX)
                    || ($event->isWorkerIdle() && file_exists($told['file'].'.stop'))) {
                    $event->getWorker()->stop();
                }
            });
            $began = microtime(true);
            (new Worker(['async' => $async], $bus, $events))->run(['sleep' => 10000]);
            echo json_encode(['handled' => $handled, 'seconds' => microtime(true) - $began]);
            break;

        case 'failed:show':
            $show = new FailedMessagesShowCommand('failed', new ServiceLocator(['failed' => fn () => $failed]));
            $input = isset($told['id']) ? ['id' => $told['id']] : [];
            $show->run(new ArrayInput($input + ($told['options'] ?? [])), new StreamOutput(\STDOUT));
            break;

        case 'stats':
            echo json_encode(['async' => $async->getMessageCount(), 'failed' => $failed->getMessageCount()]);
            break;

        default:
            throw new \InvalidArgumentException("no such command: $command");
    }
}
