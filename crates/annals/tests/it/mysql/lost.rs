//! The connection is lost between a commit and its answer: nobody knows then whether it
//! was made, and doing it again must be right either way.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals::store::mysql::MysqlStore;
use annals::store::{Appended, Appender, Record, Store};
use annals::transport::mysql::MysqlTransport;
use annals::transport::{Transport, Want};
use annals::{Entity, ErrorKind, Event};
use annals_testbed::mariadb::Mariadb;
use annals_testbed::required;

use super::transport::batch;
use crate::check::check;

/// A wire to a server. Of the next request in which a text stands, the answer is lost,
/// and the connection with it.
#[derive(Clone)]
struct Wire {
    port: u16,
    doomed: Arc<Mutex<Option<&'static str>>>,
    lost: Arc<AtomicUsize>,
}

impl Wire {
    fn to(server: &Mariadb) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = Self { port, doomed: Arc::default(), lost: Arc::default() };
        let (shared, to) = (wire.clone(), server.port());
        // They end with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = shared.clone();
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).unwrap();
                let dying = Arc::new(Mutex::new(false));
                let (from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let marked = Arc::clone(&dying);
                let wire = shared.clone();
                std::thread::spawn(move || {
                    wire.forward(from, |bytes| {
                        let mut doomed = wire.doomed.lock().unwrap();
                        if let Some(text) = *doomed
                            && bytes.windows(text.len()).any(|some| some == text.as_bytes())
                        {
                            *doomed = None;
                            *marked.lock().unwrap() = true;
                        }
                        into.write_all(bytes).is_ok()
                    });
                    let _ = into.shutdown(Shutdown::Both);
                });
                let mut back = client;
                let mut rest = server.try_clone().unwrap();
                std::thread::spawn(move || {
                    shared.forward(server, |bytes| {
                        if *dying.lock().unwrap() {
                            // One answer a statement: when no more come, it has committed.
                            rest.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
                            while let Ok(1..) = rest.read(&mut [0; 4096]) {}
                            shared.lost.fetch_add(1, Ordering::SeqCst);
                            return false;
                        }
                        back.write_all(bytes).is_ok()
                    });
                    let _ = back.shutdown(Shutdown::Both);
                });
            }
        });
        wire
    }

    fn forward(&self, mut from: TcpStream, mut each: impl FnMut(&[u8]) -> bool) {
        let mut bytes = vec![0; 1 << 20];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if !each(&bytes[..count]) {
                return;
            }
        }
    }

    fn url(&self, url: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{}", self.port, url.rsplit('/').next().unwrap())
    }

    fn lose(&self, text: &'static str) {
        *self.doomed.lock().unwrap() = Some(text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_append() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let (wire, url) = (Wire::to(server), server.database());
    let store = MysqlStore::open(&wire.url(&url)).await.unwrap();
    for round in 0..3_u64 {
        let records: Vec<Record> = (0..20)
            .map(|number| {
                let event = Event::new("updated", Entity::new("product", number));
                Record::decode(event.encode().unwrap()).unwrap()
            })
            .collect();
        wire.lose("UPDATE annals_log_head");
        let lost = store.append(records.as_slice().into()).await.unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::Away, "{lost}");
        let again = store.append(records.as_slice().into()).await.unwrap();
        assert_eq!(again, vec![Appended::Duplicate; 20], "it was committed");
        let more = Event::new("updated", Entity::new("product", 77));
        let more = Record::decode(more.encode().unwrap()).unwrap();
        let after = store.append([more].into()).await.unwrap();
        assert_eq!(after, [Appended::Inserted(round * 21 + 20)]);
    }
    assert_eq!(wire.lost.load(Ordering::SeqCst), 3);
    assert_eq!(store.stats().await.unwrap().events, 63);
    assert_eq!(check(&url).await.unwrap().size, 63);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_send_a_lease_and_an_acknowledgement() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let (wire, url) = (Wire::to(server), server.database());
    let queue = MysqlTransport::open(&wire.url(&url)).await.unwrap();
    wire.lose("\"updated\"");
    assert_eq!(queue.send(batch(0, 1)).await.unwrap_err().kind(), ErrorKind::Away);
    assert_eq!(queue.stats().await.unwrap().ready, 1);
    // A lease of which nobody heard ends by itself.
    let soon = Want { lease: Duration::from_millis(200), ..Want::up_to(10) };
    wire.lose("UPDATE JSON_TABLE");
    assert_eq!(queue.receive(soon).await.unwrap_err().kind(), ErrorKind::Away);
    let wait = Want { wait: Duration::from_secs(20), ..Want::up_to(10) };
    let got = queue.receive(wait).await.unwrap();
    assert_eq!((got.len(), got[0].attempts), (1, 2));
    wire.lose("[[");
    assert_eq!(queue.ack(&[got[0].receipt]).await.unwrap_err().kind(), ErrorKind::Away);
    assert_eq!(queue.ack(&[got[0].receipt]).await.unwrap(), 0, "it was done");
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.ready, stats.leased), (0, 0));
    assert_eq!(wire.lost.load(Ordering::SeqCst), 3);
}
