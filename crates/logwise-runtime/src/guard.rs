//! A deadline and a net around every reconcile: one bad object ends neither the process nor the watch.

use futures::FutureExt;
use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// How a reconcile ended that did not end by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It panicked; the text is the panic's.
    #[error("the operator hit a defect: {0}")]
    Panicked(String),
    /// It did not end within the deadline.
    #[error("no end within {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// Runs `reconcile` to its end, its panic or the deadline, whichever comes first.
pub async fn guarded<T>(deadline: Duration, reconcile: impl Future<Output = T>) -> Result<T, Broken> {
    // The state that a panic may leave half-changed is per reconcile and dropped with it.
    let caught = AssertUnwindSafe(reconcile).catch_unwind();
    match tokio::time::timeout(deadline, caught).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(panic)) => Err(Broken::Panicked(text(panic.as_ref()))),
        Err(_) => Err(Broken::TimedOut(deadline)),
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_value() {
        let broken = guarded(Duration::from_secs(5), async { panic!("number {}", 7) }).await;
        assert_eq!(broken, Err::<(), _>(Broken::Panicked("number 7".into())));
    }

    #[tokio::test]
    async fn a_hang_becomes_a_value() {
        let deadline = Duration::from_millis(5);
        assert_eq!(guarded(deadline, std::future::pending::<()>()).await, Err(Broken::TimedOut(deadline)));
        assert_eq!(guarded(Duration::from_secs(60), async { 3 }).await, Ok(3));
    }
}
