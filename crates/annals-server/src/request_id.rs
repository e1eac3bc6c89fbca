//! A name for each request, that its sender, the answer, the log and the trail share.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

static HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of a name that a sender gave, at most.
const MOST: usize = 128;

/// The name of a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// Takes the name that the sender gave, if it is one, or gives one; and answers with it.
pub(crate) async fn name(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&HEADER).and_then(|given| given.to_str().ok());
    let good = |given: &&str| {
        (1..=MOST).contains(&given.len()) && given.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let id = match given.filter(good) {
        Some(given) => given.to_owned(),
        None => annals::EventId::at(annals::Timestamp::now()).to_string(),
    };
    let header = HeaderValue::from_str(&id);
    request.extensions_mut().insert(RequestId(id));
    let mut answer = next.run(request).await;
    if let Ok(header) = header {
        answer.headers_mut().insert(&HEADER, header);
    }
    answer
}
