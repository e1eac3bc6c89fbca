//! Who acts, from where: set once per request, found by every record below it.
//!
//! A [`Scope`] is entered for a piece of synchronous code, or put around a
//! future, which it then follows across every `.await`. A spawned task asks for
//! it: `tokio::spawn(work().in_current_scope())`.

#[cfg(feature = "tower")]
pub mod layer;
pub mod proxy;

use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use crate::event::{Actor, Context, Defaults, Text};

/// What the events recorded below have in common. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope(Arc<Defaults>);

thread_local! {
    static CURRENT: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

impl Scope {
    /// A scope that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The scope that this code runs in; an empty one outside any. Extend it to
    /// add what only an inner layer knows, such as the actor after signing in.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.with_borrow(Clone::clone).unwrap_or_default()
    }

    /// Sets who acts.
    #[must_use]
    pub fn actor(self, actor: Actor) -> Self {
        self.with(|defaults| defaults.actor = Some(actor))
    }

    /// Sets whose data it is.
    #[must_use]
    pub fn tenant(self, tenant: impl Into<Text>) -> Self {
        self.with(|defaults| defaults.tenant = Some(tenant.into()))
    }

    /// Sets why.
    #[must_use]
    pub fn reason(self, reason: impl Into<Text>) -> Self {
        self.with(|defaults| defaults.reason = Some(reason.into()))
    }

    /// Sets the client's address.
    #[must_use]
    pub fn ip(self, ip: impl Into<Text>) -> Self {
        self.with(|defaults| defaults.context.ip = Some(ip.into()))
    }

    /// Sets the client's User-Agent.
    #[must_use]
    pub fn user_agent(self, user_agent: impl Into<Text>) -> Self {
        self.with(|defaults| defaults.context.user_agent = Some(user_agent.into()))
    }

    /// Sets the request's URL.
    #[must_use]
    pub fn url(self, url: impl Into<Text>) -> Self {
        self.with(|defaults| defaults.context.url = Some(url.into()))
    }

    /// Sets the request's method.
    #[must_use]
    pub fn method(self, method: impl Into<Text>) -> Self {
        self.with(|defaults| defaults.context.method = Some(method.into()))
    }

    /// Sets the request's id.
    #[must_use]
    pub fn request_id(self, request_id: impl Into<Text>) -> Self {
        self.with(|defaults| defaults.context.request_id = Some(request_id.into()))
    }

    /// Sets the distributed trace's id.
    #[must_use]
    pub fn trace_id(self, trace_id: impl Into<Text>) -> Self {
        self.with(|defaults| defaults.context.trace_id = Some(trace_id.into()))
    }

    /// Sets the application's name.
    #[must_use]
    pub fn service(self, service: impl Into<Text>) -> Self {
        self.with(|defaults| defaults.context.service = Some(service.into()))
    }

    /// Sets the whole context at once.
    #[must_use]
    pub fn context(self, context: Context) -> Self {
        self.with(|defaults| defaults.context = context)
    }

    /// What it gives to the events that leave it open.
    #[must_use]
    pub fn defaults(&self) -> &Defaults {
        &self.0
    }

    fn with(mut self, set: impl FnOnce(&mut Defaults)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }

    /// Makes this the current scope of the thread until the guard is dropped.
    /// Across an `.await`, use [`Scope::around`] instead.
    #[must_use = "the scope ends when the guard is dropped"]
    pub fn enter(&self) -> Entered {
        let before = CURRENT.replace(Some(self.clone()));
        Entered { before, not_send: PhantomData }
    }

    /// Runs `work` in this scope.
    pub fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        work()
    }

    /// The future, in this scope whenever it is polled.
    pub fn around<F: Future>(self, future: F) -> Scoped<F> {
        Scoped { future: Box::pin(future), scope: self }
    }

    /// Shows the current scope's defaults to `look`, without cloning them.
    pub(crate) fn look<R>(look: impl FnOnce(Option<&Defaults>) -> R) -> R {
        CURRENT.with_borrow(|current| look(current.as_ref().map(|scope| &*scope.0)))
    }
}

/// The scope is current while this lives.
#[derive(Debug)]
pub struct Entered {
    before: Option<Scope>,
    /// The guard belongs to its thread.
    not_send: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// A future in a scope.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Scoped<F> {
    future: Pin<Box<F>>,
    scope: Scope,
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let _entered = self.scope.enter();
        self.future.as_mut().poll(cx)
    }
}

/// Takes the current scope along into a future, for tasks that are spawned.
pub trait InCurrentScope: Future + Sized {
    /// This future, in the scope that is current now.
    fn in_current_scope(self) -> Scoped<Self> {
        Scope::current().around(self)
    }
}

impl<F: Future> InCurrentScope for F {}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor() -> Option<String> {
        Scope::look(|defaults| defaults?.actor.as_ref().map(ToString::to_string))
    }

    #[tokio::test]
    async fn follows_a_future_and_ends_with_it() {
        let seen = Scope::new().actor(Actor::user(7)).around(async {
            tokio::task::yield_now().await;
            let asked = tokio::spawn(async { actor() }.in_current_scope());
            let forgot = tokio::spawn(async { actor() });
            (actor(), asked.await.unwrap(), forgot.await.unwrap())
        });
        let (here, asked, forgot) = seen.await;
        assert_eq!(here.as_deref(), Some("user:7"));
        assert_eq!(asked.as_deref(), Some("user:7"));
        assert_eq!(forgot, None);
        assert_eq!(actor(), None);
    }

    #[test]
    fn inner_scopes_extend_and_give_way() {
        let outer = Scope::new().ip("203.0.113.9").actor(Actor::user(1));
        outer.run(|| {
            let inner = Scope::current().actor(Actor::user(2));
            inner.run(|| {
                assert_eq!(actor().as_deref(), Some("user:2"));
                assert_eq!(Scope::current().defaults().context.ip.as_deref(), Some("203.0.113.9"));
            });
            assert_eq!(actor().as_deref(), Some("user:1"));
        });
    }

    #[test]
    fn two_futures_on_one_thread_do_not_mix() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let one = Scope::new().actor(Actor::user(1)).around(async {
                tokio::task::yield_now().await;
                actor()
            });
            let two = Scope::new().actor(Actor::user(2)).around(async {
                tokio::task::yield_now().await;
                actor()
            });
            let (one, two) = tokio::join!(one, two);
            assert_eq!((one.as_deref(), two.as_deref()), (Some("user:1"), Some("user:2")));
        });
    }
}
