//! A small runtime on a thread of its own, for connections to a server: it serves callers
//! under any executor, and callers whose own runtime has ended.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The runtime; dropped, it ends with what is in hand.
#[derive(Debug)]
pub(crate) struct Runtime {
    handle: Handle,
    /// Dropped to end the thread.
    running: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Starts it; `name` is its thread's.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // An error is what tells that the sender is gone.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { handle, running: Some(running), thread: Some(thread) })
    }

    /// Runs a task beside the others.
    pub(crate) fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(task)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to wait for.
            let _ = thread.join();
        }
    }
}
