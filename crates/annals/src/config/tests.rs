use std::time::Duration;

use super::*;
use crate::retention::Keep;
use crate::url::without_secrets;

fn file(text: &str) -> Sources {
    let file = ConfigFile { name: "annals.toml".to_owned(), text: text.to_owned() };
    Sources { file: Some(file), ..Sources::default() }
}

fn faults(sources: &Sources) -> String {
    Config::load(sources).unwrap_err().to_string()
}

fn flag(key: &'static str, name: &'static str, values: &[&str]) -> Flag {
    Flag { key, name, values: values.iter().map(|value| (*value).to_owned()).collect() }
}

#[test]
fn without_any_source_everything_is_embedded() {
    let config = Config::load(&Sources::default()).unwrap();
    assert_eq!(config.transports, ["sqlite:annals-data/queue.db"]);
    assert_eq!(config.store, "sqlite:annals-data/store.db");
    assert!(config.mirrors.is_empty() && config.prune_older_than.is_none());
    assert!(config.ingest.listen.ip().is_loopback());
}

#[test]
fn the_tables_defaults_are_those_of_the_library() {
    let config = Config::load(&Sources::default()).unwrap();
    assert_eq!(format!("{:?}", config.worker), format!("{:?}", WorkerOptions::default()));
    assert_eq!(format!("{:?}", config.capture.options()), format!("{:?}", AuditOptions::default()));
    for resolved in &config.settings {
        assert_eq!(
            resolved.value.is_some(),
            resolved.setting.default.is_some(),
            "{}",
            resolved.setting.key
        );
        assert_eq!(resolved.origin, Origin::Default);
    }
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let mut sources = file("data_dir = 'f'\n[worker]\nbatch_size = 1\nretries = 1\nlease = '1m'\n");
    sources.environment = vec![
        ("ANNALS_WORKER_BATCH_SIZE".to_owned(), "2".to_owned()),
        ("ANNALS_WORKER_RETRIES".to_owned(), "2".to_owned()),
    ];
    sources.flags = vec![flag("worker.batch_size", "--batch-size", &["3"])];
    let config = Config::load(&sources).unwrap();
    assert_eq!((config.worker.batch_size, config.worker.retries), (3, 2));
    assert_eq!(config.worker.lease, Duration::from_secs(60));
    assert_eq!(config.store, "sqlite:f/store.db");
    let origin = |key: &str| {
        config.settings.iter().find(|r| r.setting.key == key).unwrap().origin.to_string()
    };
    assert_eq!(origin("worker.batch_size"), "--batch-size");
    assert_eq!(origin("worker.retries"), "ANNALS_WORKER_RETRIES");
    assert_eq!(origin("worker.lease"), "annals.toml:5");
    assert_eq!(origin("store"), "default");
}

#[test]
fn all_mistakes_are_named_at_once_with_their_lines() {
    let text = "stor = 'sqlite:x'\n\n[worker]\nbatchsize = 5\nflush_interval = 5\nlease = '90 parsecs'\n\
                [capture]\nwhen_full = 'spil'\nbatch_size = 1\n[wroker]\nretries = 1\n";
    assert_eq!(
        faults(&file(text)),
        "annals.toml:1: unknown setting `stor`; did you mean `store`?\n\
         annals.toml:4: unknown setting `worker.batchsize`; did you mean `worker.batch_size`?\n\
         annals.toml:5: `worker.flush_interval`: expected a time with its unit from 0s to 1h, found the number 5\n\
         annals.toml:6: `worker.lease`: expected a time with its unit (ms, s, m, h, d or w) such as 5s or 90d, found \"90 parsecs\"\n\
         annals.toml:8: `capture.when_full`: expected spill, block, fail or drop, found \"spil\"; did you mean spill?\n\
         annals.toml:9: unknown setting `capture.batch_size`; did you mean `worker.batch_size`?\n\
         annals.toml:10: unknown section [wroker]; did you mean [worker]?"
    );
}

#[test]
fn what_is_no_toml_is_named_beside_the_other_mistakes() {
    let text = "data_dir = \n[worker]\nretries = many\nconcurrency = 0\n";
    let found = faults(&file(text));
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), 3, "{found}");
    assert!(lines[0].starts_with("annals.toml:1: not TOML: "), "{found}");
    assert!(lines[1].starts_with("annals.toml:3: not TOML: "), "{found}");
    assert_eq!(
        lines[2],
        "annals.toml:4: `worker.concurrency`: expected a whole number from 1 to 64, found \"0\""
    );
}

#[test]
fn a_wrong_value_is_a_fault_even_where_it_is_overridden() {
    let mut sources = file("[worker]\nretries = -1\n");
    sources.flags = vec![flag("worker.retries", "--retries", &["5"])];
    assert!(
        faults(&sources).starts_with("annals.toml:2: `worker.retries`: expected a whole number")
    );
}

#[test]
fn flags_and_variables_are_named_as_they_were_given() {
    let sources = Sources {
        flags: vec![
            flag("store", "--store", &["store.db"]),
            flag("worker.batch_size", "--batch-size", &["0"]),
        ],
        environment: vec![("ANNALS_CAPTURE_LINGER".to_owned(), "20".to_owned())],
        file: None,
        application: None,
    };
    assert_eq!(
        faults(&sources),
        "--batch-size: expected a whole number from 1 to 10000, found \"0\"\n\
         --store: expected a URL such as sqlite:annals-data/store.db, found \"store.db\"\n\
         ANNALS_CAPTURE_LINGER: expected a time with its unit (ms, s, m, h, d or w) such as 5s or 90d, found \"20\""
    );
}

#[test]
fn a_variable_that_sets_nothing_is_a_warning_with_the_likely_name() {
    let environment = vec![
        ("ANNALS_WORKER_BATCHSIZE".to_owned(), "5".to_owned()),
        ("ANNALS_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned()),
        ("PATH".to_owned(), "/bin".to_owned()),
    ];
    let config = Config::load(&Sources { environment, ..Sources::default() }).unwrap();
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "ANNALS_SERVICE_HOST: sets nothing that Annals knows",
            "ANNALS_WORKER_BATCHSIZE: sets nothing that Annals knows; did you mean ANNALS_WORKER_BATCH_SIZE?"
        ]
    );
}

#[test]
fn passwords_are_never_shown() {
    for (url, shown) in [
        ("postgres://jo:s3cr:et@db/annals", "postgres://jo:***@db/annals"),
        ("postgres://jo:s@c/r@db/annals", "postgres://jo:***@db/annals"),
        ("redis://r:6379?stream=a&password=x", "redis://r:6379?stream=a&password=***"),
        ("redis+list://r?key=audit_pkg:buffer", "redis+list://r?key=audit_pkg:buffer"),
        ("nats://n?auth_token=abc&api_key=k", "nats://n?auth_token=***&api_key=***"),
        ("sqlite:annals-data/store.db", "sqlite:annals-data/store.db"),
    ] {
        assert_eq!(without_secrets(url), shown);
    }
    let sources = Sources {
        flags: vec![flag("store", "--store", &["postgres://jo:s3cret@db/x"])],
        ..Sources::default()
    };
    let config = Config::load(&sources).unwrap();
    assert!(config.store.contains("s3cret"));
    let store = config.settings.iter().find(|r| r.setting.key == "store").unwrap();
    assert_eq!(store.value.as_deref(), Some("postgres://jo:***@db/x"));
}

#[test]
fn several_transports_and_mirrors() {
    let config =
        Config::load(&file("transport = ['sqlite:a', 'sqlite:b']\nmirror = 'file:m'\n")).unwrap();
    assert_eq!(config.transports, ["sqlite:a", "sqlite:b"]);
    assert_eq!(config.mirrors, ["file:m"]);
    assert!(
        faults(&file("transport = ['sqlite:a', 3]"))
            .ends_with("found a list that holds the number 3")
    );
    let sync = Config::load(&file("transport = 'sync:'\nstore = 'sqlite:s'\n")).unwrap();
    assert_eq!(sync.transports, ["sync:sqlite:s"]);
    let same = faults(&file("transport = 'sqlite:s'\nstore = 'sqlite:s'\n"));
    assert!(same.contains("are both sqlite:s"), "{same}");
}

#[test]
fn the_template_changes_nothing_and_uncommented_sets_the_defaults() {
    let text = template();
    let untouched = Config::load(&file(&text)).unwrap();
    assert!(untouched.settings.iter().all(|resolved| resolved.origin == Origin::Default));
    let uncommented: String = text
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| rest.split(' ').nth(1) == Some("="))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let config = Config::load(&file(&uncommented)).unwrap();
    for (set, default) in config.settings.iter().zip(&untouched.settings) {
        assert!(
            matches!(set.origin, Origin::File(..)),
            "{} is not in the template",
            set.setting.key
        );
        assert!(default.value.is_none() || set.value == default.value, "{}", set.setting.key);
    }
}

fn laravel(environment: &[(&str, &str)], file: &str) -> Sources {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let application = EnvFile { name: ".env".to_owned(), text: file.to_owned() };
    Sources {
        environment: environment.iter().map(pair).collect(),
        application: Some(application),
        ..Sources::default()
    }
}

#[test]
fn the_file_of_a_laravel_application_is_a_whole_configuration() {
    let env = "APP_NAME=\"My Shop\"\nAPP_TIMEZONE=Europe/Berlin\nDB_CONNECTION=mysql\nDB_HOST=db\n\
        DB_DATABASE=shop\nDB_USERNAME=shop\nDB_PASSWORD=\"p@ss/word:1\"\nREDIS_HOST=cache\n\
        REDIS_PASSWORD=null\nREDIS_PORT=6380\nAUDIT_DRIVER=redis\nAUDIT_REDIS_CONNECTION=audit\n\
        REDIS_AUDIT_DB=3\nAUDIT_BATCH_SIZE=500\nAUDIT_FLUSH_INTERVAL=2\nAUDIT_PRUNE_DAYS=90\n\
        AUDIT_MEMORY_LIMIT=256\nAUDIT_SLEEP_MS=500\n";
    let config = Config::load(&laravel(&[], env)).unwrap();
    assert_eq!(
        config.transports,
        ["redis+list://cache:6380/3?key=my_shop_database_audit_pkg:buffer&timezone=Europe/Berlin"]
    );
    assert_eq!(
        config.store,
        "mysql://shop:p%40ss%2Fword%3A1@db:3306/shop?layout=laravel&timezone=Europe/Berlin"
    );
    assert_eq!(
        (config.worker.batch_size, config.worker.flush_interval),
        (500, Duration::from_secs(2))
    );
    assert_eq!(config.worker.memory_limit, Some(256 << 20));
    assert_eq!(config.prune_older_than, Some(Duration::from_secs(90 * 86_400)));
    let shown = |key: &str| {
        let resolved = config.settings.iter().find(|resolved| resolved.setting.key == key).unwrap();
        (resolved.value.clone().unwrap(), resolved.origin.to_string())
    };
    assert_eq!(shown("worker.batch_size"), ("500".to_owned(), ".env:14".to_owned()));
    assert!(!shown("store").0.contains("p%40ss"), "{}", shown("store").0);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn what_is_said_to_annals_counts_more_than_the_applications_variables() {
    let env = "AUDIT_REDIS_KEY=audits\nREDIS_PREFIX=\nREDIS_URL=tls://u:p@cache:6390\nDB_URL=pgsql://a:b@db/shop\n\
        AUDIT_BATCH_SIZE=7\nANNALS_WORKER_RETRIES=9\n";
    let sources = laravel(&[("ANNALS_STORE", "sqlite:s.db"), ("AUDIT_BATCH_SIZE", "8")], env);
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.transports, ["rediss+list://u:p@cache:6390/0?key=audits"]);
    assert_eq!((config.store.as_str(), config.worker.batch_size), ("sqlite:s.db", 8));
    assert_eq!(config.worker.retries, 9);
    let config = Config::load(&laravel(&[], env)).unwrap();
    assert_eq!(config.store, "postgres://a:b@db/shop?layout=laravel");
}

#[test]
fn variables_of_other_applications_set_nothing() {
    let env = "REDIS_HOST=cache\nDB_CONNECTION=mysql\nDB_DATABASE=shop\n";
    let config = Config::load(&laravel(&[], env)).unwrap();
    assert_eq!(config.transports, ["sqlite:annals-data/queue.db"]);
    let sync = Config::load(&laravel(&[], "AUDIT_DRIVER=sync\nDB_CONNECTION=sqlite\n")).unwrap();
    assert_eq!(sync.transports, ["sqlite:annals-data/queue.db"]);
    assert_eq!(sync.store, "sqlite:database/database.sqlite?layout=laravel");
    assert!(
        sync.warnings[0].to_string().contains("AUDIT_DRIVER")
            || sync.warnings[0].to_string().starts_with(".env:1")
    );
    let told = faults(&laravel(&[], "AUDIT_BATCH_SIZE=many\nAUDIT_PRUNE_DAYS=0\n"));
    assert!(told.contains(".env:1: ") && told.contains(".env:2: "), "{told}");
}

#[test]
fn the_mapping_of_symfony_messages_goes_to_their_transports() {
    let text = "transport = ['symfony+sqlite:a.db?message=A&map.verb=reason', 'sqlite:q.db']\n\
                [symfony]\nmap = ['verb=action', 'kind=entity.type']\n";
    let config = Config::load(&file(text)).unwrap();
    assert_eq!(
        config.transports,
        [
            "symfony+sqlite:a.db?message=A&map.verb=reason&map.verb=action&map.kind=entity.type",
            "sqlite:q.db"
        ]
    );
    let wrong = faults(&file("[symfony]\nmap = ['verb', 'kind=entity.kind']\n"));
    assert!(wrong.contains("expected PROPERTY=FIELD in quotes"), "{wrong}");
    let wrong = faults(&file("[symfony]\nmap = 'kind=entity.kind'\n"));
    assert!(wrong.contains("\"entity.kind\" is no field; use one of action"), "{wrong}");
}

#[test]
fn rules_of_retention_are_tables() {
    let text = "[retention]\narchive = 'old'\n\
        [[retention.rule]]\nname = 'sign-ins'\naction = ['login', 'logout']\nkeep = '90d'\n\
        [[retention.rule]]\nname = 'cards'\ntag = 'card'\npreset = 'pci-dss'\narchive = false\n\
        [[retention.rule]]\nname = 'orders'\nentity_type = 'order'\ntenant = 'acme'\nkeep = '7y'\nat_hand = '30d'\n\
        [[retention.rule]]\nname = 'rest'\nkeep = 'for ever'\n";
    let retention = Config::load(&file(text)).unwrap().retention;
    assert_eq!(retention.archive.unwrap(), std::path::Path::new("old"));
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let [sign_ins, cards, orders, rest] = retention.policy.rules() else { panic!() };
    assert_eq!((&*sign_ins.name, sign_ins.keep), ("sign-ins", Keep::For(days(90))));
    assert_eq!(sign_ins.actions, ["login", "logout"]);
    assert_eq!((cards.keep, cards.at_hand), (Keep::For(days(366)), Some(days(92))));
    assert!(cards.unarchived && !orders.unarchived);
    assert_eq!((orders.keep, orders.at_hand), (Keep::For(days(2557)), Some(days(30))));
    assert_eq!((&*rest.name, rest.keep), ("rest", Keep::ForEver));
}

#[test]
fn what_is_wrong_with_rules_is_told_all_at_once_with_its_line() {
    let text = "[[retention.rule]]\nname = 'a'\nkeep = 'long'\nactoin = 'x'\n\
        [[retention.rule]]\nname = 'b'\npreset = 'gdpr'\ntag = 3\n";
    let found = faults(&file(text));
    for told in [
        "annals.toml:3: `retention.rule.keep`: expected a time such as \"90d\"",
        "annals.toml:4: unknown setting `retention.rule.actoin`; did you mean `action`?",
        "annals.toml:7: `retention.rule.preset`: expected one of pci-dss, hipaa, sox",
        "annals.toml:8: `retention.rule.tag`: expected a text in quotes",
    ] {
        assert!(found.contains(told), "{told}\n{found}");
    }
    let both = "[prune]\nolder_than = '1d'\n[[retention.rule]]\nname = 'a'\nkeep = '1d'\n";
    assert!(faults(&file(both)).starts_with("annals.toml:2: `prune.older_than`: there are rules"));
    let never = "[[retention.rule]]\nname = 'a'\nkeep = '1d'\n[[retention.rule]]\nname = 'b'\nkeep = '1d'\n";
    assert!(
        faults(&file(never)).contains("\"b\" never matches, since \"a\" before it matches all")
    );
    assert!(
        faults(&file("[retention]\nrule = 'a'\n")).contains("unknown setting `retention.rule`")
    );
}

#[test]
fn a_provider_of_identities_gives_roles() {
    let text = "[oidc]\nissuer = 'https://id.example.com'\n\
        roles = ['cn=ops,dc=example=operator', 'support=reader@acme,globex']\n";
    let oidc = Config::load(&file(text)).unwrap().oidc.unwrap();
    let [ops, support] = oidc.roles.as_slice() else { panic!("{oidc:?}") };
    assert_eq!((&*ops.value, &*ops.role), ("cn=ops,dc=example", "operator"));
    assert_eq!(support.tenants, ["acme", "globex"]);
    assert_eq!((&*oidc.client_id, &*oidc.claim), ("annals", "groups"));
    for (setting, told) in [
        ("oidc.roles = ['ops=boss']", "expected VALUE=ROLE or VALUE=ROLE@TENANT"),
        ("oidc.roles = ['ops']", "found \"ops\""),
        ("oidc.roles = ['=reader']", "found \"=reader\""),
        ("oidc.roles = ['ops=reader@']", "found \"ops=reader@\""),
        ("oidc.name = ''", "expected a text, found nothing"),
        ("access.url = 'audit.example.com'", "expected https://HOST"),
        ("access.url = 'https://audit.example.com/'", "without a path"),
        ("access.url = 'https://'", "expected https://HOST"),
    ] {
        let found = faults(&file(setting));
        assert!(found.contains(told), "{setting}: {found}");
    }
    assert_eq!(Config::load(&file("")).unwrap().oidc, None);
}
