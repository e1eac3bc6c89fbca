//! A wire to a PostgreSQL server that breaks at the worst moment: when the server
//! has committed, and nobody has heard of it yet.
//!
//! Understands as much of the protocol as that takes (PostgreSQL's documentation,
//! "Message Formats"): which statements a transaction runs, and when it has ended.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Forwards connections to a server, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A text: of the next transaction that runs a statement with it, the answer to
    /// its commit is lost.
    doomed: Option<&'static str>,
    /// Commits whose answer was lost.
    lost: usize,
    closed: bool,
    /// Connections up to this number hear nothing any more.
    silent: usize,
    /// Both ends of every connection, by number.
    open: HashMap<usize, [TcpStream; 2]>,
    connections: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Forwards to this port of loopback.
    ///
    /// # Errors
    /// If there is no port to listen on.
    pub fn start(to: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::<Shared>::default();
        let proxy = Self { port, shared: Arc::clone(&shared) };
        std::thread::Builder::new().name("annals-proxy".to_owned()).spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.lock().closed {
                    return;
                }
                // A server that is down: the client finds its connection closed.
                let _ = forward(&shared, client, to);
            }
        })?;
        Ok(proxy)
    }

    /// The same database, through here. Without TLS, which would hide it.
    ///
    /// # Panics
    /// If that is no URL of the server on loopback.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let (server, database) = url.rsplit_once('/').unwrap_or_else(|| panic!("{url}"));
        let (user, _) = server.rsplit_once(':').unwrap_or_else(|| panic!("{url}"));
        format!("{user}:{}/{database}?sslmode=disable", self.port)
    }

    /// Of the next transaction that runs a statement with this text, the answer to
    /// its commit is lost, and the connection with it.
    pub fn lose_commit_of(&self, text: &'static str) {
        self.shared.lock().doomed = Some(text);
    }

    /// From now on nothing comes through the connections that are open, and they are
    /// not closed either.
    pub fn fall_silent(&self) {
        let mut state = self.shared.lock();
        state.silent = state.connections;
    }

    /// How many answers were lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.shared.lock().lost
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        for end in state.open.values().flatten() {
            let _ = end.shutdown(Shutdown::Both);
        }
        drop(state);
        // It looks when somebody comes.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Forwards one connection on two threads, which end with it.
fn forward(shared: &Arc<Shared>, client: TcpStream, to: u16) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let number = {
        let mut state = shared.lock();
        state.connections += 1;
        let number = state.connections;
        state.open.insert(number, [client.try_clone()?, server.try_clone()?]);
        number
    };
    // Whether the transaction under way is the doomed one.
    let doomed = Arc::new(Mutex::new(false));
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let outward = {
        let (shared, doomed) = (Arc::clone(shared), Arc::clone(&doomed));
        move || {
            let _ = ask(&shared, &doomed, from_client, to_server);
            hang_up(&shared, number);
        }
    };
    let inward = {
        let shared = Arc::clone(shared);
        move || {
            let _ = answer(&shared, number, &doomed, server, client);
            hang_up(&shared, number);
        }
    };
    std::thread::Builder::new().name("annals-proxy-out".to_owned()).spawn(outward)?;
    std::thread::Builder::new().name("annals-proxy-in".to_owned()).spawn(inward)?;
    Ok(())
}

fn hang_up(shared: &Shared, number: usize) {
    for end in shared.lock().open.remove(&number).into_iter().flatten() {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// From the client to the server: looks for the statement.
fn ask(
    shared: &Shared,
    doomed: &Mutex<bool>,
    mut client: TcpStream,
    mut server: TcpStream,
) -> io::Result<()> {
    // The first message has no kind.
    let startup = read_rest(&mut client)?;
    server.write_all(&startup)?;
    let mut prepared: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    loop {
        let (kind, message) = read_message(&mut client)?;
        let mut texts = message[5..].split(|byte| *byte == 0);
        let mut next = || texts.next().unwrap_or_default();
        let runs = match kind {
            b'Q' => Some(next().to_vec()),
            // Parse: the statement's name, and its text.
            b'P' => {
                let name = next().to_vec();
                prepared.insert(name, next().to_vec());
                None
            }
            // Bind: the portal's name, and the statement's.
            b'B' => {
                next();
                prepared.get(next()).cloned()
            }
            _ => None,
        };
        if let Some(text) = runs {
            let mut state = shared.lock();
            let wanted = |wanted: &&str| text.windows(wanted.len()).any(|w| w == wanted.as_bytes());
            if state.doomed.as_ref().is_some_and(wanted) {
                state.doomed = None;
                *doomed.lock().unwrap_or_else(PoisonError::into_inner) = true;
            }
        }
        server.write_all(&message)?;
    }
}

/// From the server to the client: keeps the answer to the commit.
fn answer(
    shared: &Shared,
    number: usize,
    doomed: &Mutex<bool>,
    mut server: TcpStream,
    mut client: TcpStream,
) -> io::Result<()> {
    let mut kept = Vec::new();
    let mut committed = false;
    loop {
        let (kind, message) = read_message(&mut server)?;
        if number <= shared.lock().silent {
            continue;
        }
        let is_doomed = *doomed.lock().unwrap_or_else(PoisonError::into_inner);
        // CopyInResponse is waited for in the middle of a statement.
        if !is_doomed || kind == b'G' {
            client.write_all(&message)?;
            continue;
        }
        match kind {
            // CommandComplete: of a COMMIT, or of a statement that is a transaction.
            b'C' => committed = !message[5..].starts_with(b"ROLLBACK"),
            b'E' => committed = false,
            _ => {}
        }
        let is_ready = kind == b'Z';
        let is_idle = message.last() == Some(&b'I');
        kept.extend(message);
        if is_ready && is_idle && committed {
            shared.lock().lost += 1;
            return Ok(());
        }
        if is_ready {
            client.write_all(&std::mem::take(&mut kept))?;
            if is_idle {
                *doomed.lock().unwrap_or_else(PoisonError::into_inner) = false;
            }
        }
    }
}

/// A message: its kind, and all of its bytes.
fn read_message(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    let mut message = kind.to_vec();
    message.extend(read_rest(stream)?);
    Ok((kind[0], message))
}

/// A length, which counts itself, and what follows.
fn read_rest(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut message = length.to_vec();
    let length = u32::from_be_bytes(length) as usize;
    message.resize(length.max(4), 0);
    stream.read_exact(&mut message[4..])?;
    Ok(message)
}
