//! What tests of stores check of the log.

use annals::proof::{FindingKind, Report, VerifyOptions, verify};
use annals::store;

/// Verifies the log of the store at this URL. Tests remove events by hand, and no event tells
/// of it: nothing else may be found.
pub(crate) async fn check(url: &str) -> annals::Result<Report> {
    let report =
        verify(&store::open_existing(url).await?, VerifyOptions::default(), |_| {}).await?;
    let told = |kind| kind == FindingKind::Removed;
    assert!(report.findings.iter().all(|finding| told(finding.kind)), "{report:?}");
    Ok(report)
}
