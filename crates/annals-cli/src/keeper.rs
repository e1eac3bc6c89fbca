//! What happens to the store beside the work.

use std::sync::Arc;

use annals::proof::{Cosigner, Publisher, Signer};
use annals::rollup::Roller;
use tokio::sync::oneshot;

/// What keeps the store: counts its events, signs its log, has that witnessed, publishes it.
pub(crate) struct Keeper {
    roller: Roller,
    signer: Arc<Signer>,
    cosigner: Arc<Cosigner>,
    publisher: Arc<Publisher>,
}

impl Keeper {
    pub(crate) fn new(
        roller: Roller,
        signer: Arc<Signer>,
        cosigner: Arc<Cosigner>,
        publisher: Arc<Publisher>,
    ) -> Self {
        Self { roller, signer, cosigner, publisher }
    }

    /// Keeps the store while something works at it, and once more when it is done: what is
    /// signed last is witnessed, and what is witnessed is published.
    pub(crate) async fn beside<T>(self, working: impl Future<Output = T>) -> T {
        let (worked, has_worked) = oneshot::channel::<()>();
        let (stored, has_stored) = oneshot::channel::<()>();
        let (signed, has_signed) = oneshot::channel::<()>();
        let (witnessed, has_witnessed) = oneshot::channel::<()>();
        let working = async {
            let result = working.await;
            drop((worked, stored));
            result
        };
        let counting = self.roller.run(async { drop(has_stored.await) });
        let signing = async {
            self.signer.run(async { drop(has_worked.await) }).await;
            drop(signed);
        };
        let witnessing = async {
            self.cosigner.run(async { drop(has_signed.await) }).await;
            drop(witnessed);
        };
        let publishing = self.publisher.run(async { drop(has_witnessed.await) });
        tokio::join!(working, counting, signing, witnessing, publishing).0
    }
}
