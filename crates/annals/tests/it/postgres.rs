//! PostgreSQL on real servers, which are stopped and killed.

/// Runs a test on Debian's release, and on the newest that can be had.
macro_rules! on_each_release {
    ($test:ident) => {
        mod $test {
            use annals_testbed::postgres::Release;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn debian() {
                super::$test(Release::Debian).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn newest() {
                super::$test(Release::Newest).await;
            }
        }
    };
}

mod attach;
mod drivers;
mod faults;
mod index;
mod pgbouncer;
mod roles;
mod settings;
mod store;
mod tls;
mod transport;
