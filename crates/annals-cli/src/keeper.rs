//! What happens to the log beside the work.

use std::sync::Arc;

use annals::proof::{Cosigner, Publisher, Signer};
use tokio::sync::oneshot;

/// What keeps the log: signs it, has it witnessed, publishes it.
pub(crate) struct Keeper {
    signer: Arc<Signer>,
    cosigner: Arc<Cosigner>,
    publisher: Arc<Publisher>,
}

impl Keeper {
    pub(crate) fn new(
        signer: Arc<Signer>,
        cosigner: Arc<Cosigner>,
        publisher: Arc<Publisher>,
    ) -> Self {
        Self { signer, cosigner, publisher }
    }

    /// Keeps the log while something works at it, and once more when it is done: what is
    /// signed last is witnessed, and what is witnessed is published.
    pub(crate) async fn beside<T>(self, working: impl Future<Output = T>) -> T {
        let (worked, has_worked) = oneshot::channel::<()>();
        let (signed, has_signed) = oneshot::channel::<()>();
        let (witnessed, has_witnessed) = oneshot::channel::<()>();
        let working = async {
            let result = working.await;
            drop(worked);
            result
        };
        let signing = async {
            self.signer.run(async { drop(has_worked.await) }).await;
            drop(signed);
        };
        let witnessing = async {
            self.cosigner.run(async { drop(has_signed.await) }).await;
            drop(witnessed);
        };
        let publishing = self.publisher.run(async { drop(has_witnessed.await) });
        tokio::join!(working, signing, witnessing, publishing).0
    }
}
