//! Commands of the shell that the configuration names.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a command with this on its input; what it prints is added to `said`, up to `most`
/// bytes. Or says what went wrong.
pub(crate) async fn run(
    command: &str,
    input: &[u8],
    said: &mut Vec<u8>,
    most: u64,
) -> Result<(), String> {
    let work = async {
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) {
            // One that reads nothing says why by its end.
            let _ = stdin.write_all(input).await;
            drop(stdin);
            stdout.take(most).read_to_end(said).await?;
        }
        child.wait().await
    };
    let ran = tokio::time::timeout(PATIENCE, work).await;
    let status = ran
        .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
        .map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("it ended with {status}")) }
}
