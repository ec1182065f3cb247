//! Waiting for a condition: looked at again and again, with a deadline, never a fixed sleep.

use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `look` finds something.
///
/// # Panics
/// When it does not within the time.
pub async fn within<T, F: Future<Output = Option<T>>>(
    time: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {time:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
