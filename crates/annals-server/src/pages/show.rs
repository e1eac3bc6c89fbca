//! Pages as they are shown.

use annals::access::{MIN_PASSWORD, Person, Tenants};
use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};

#[derive(Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignInPage<'a> {
    pub(super) fault: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) next: &'a str,
    /// What the provider of identities is called, if there is one.
    pub(super) provider: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "welcome.html")]
pub(super) struct WelcomePage<'a> {
    fault: Option<&'a str>,
    name: &'a str,
    link: &'a str,
    role: &'a str,
    whose: String,
    least: usize,
}

impl<'a> WelcomePage<'a> {
    pub(super) fn of(person: &'a Person, name: &'a str, link: &'a str) -> Self {
        let whose = whose(&person.tenants);
        let role = person.role.as_str();
        Self { fault: None, name, link, role, whose, least: MIN_PASSWORD }
    }

    pub(super) fn fault(mut self, fault: &'a str) -> Self {
        self.fault = Some(fault);
        self
    }
}

#[derive(Template)]
#[template(path = "home.html")]
pub(super) struct HomePage<'a> {
    pub(super) name: &'a str,
    pub(super) role: &'a str,
    pub(super) whose: String,
    pub(super) until: String,
    pub(super) page_token: &'a str,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    title: &'a str,
    text: &'a str,
    href: &'a str,
    link: &'a str,
}

/// A page, with a status.
pub(super) fn page(status: StatusCode, page: &impl Template) -> Response {
    // Texts between texts: there is no way to fail.
    (status, Html(page.render().unwrap_or_default())).into_response()
}

/// What is amiss, and where to go from there.
pub(super) fn message(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, &MessagePage { title, text, href: "/sign-in", link: "Sign in" })
}

/// That the store is away, or something else stands in the way that may pass.
pub(super) fn error(error: &annals::Error) -> Response {
    tracing::warn!(%error, "cannot let somebody in");
    let text = "Who may sign in cannot be looked up now. Events go on being taken in; try again \
                in a moment.";
    let mut response = message(StatusCode::SERVICE_UNAVAILABLE, "The store is away", text);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(2));
    response
}

/// Goes to a place of this server, with a cookie.
pub(super) fn go(to: &str, cookie: Option<HeaderValue>) -> Response {
    leave(local(to), cookie)
}

/// Goes elsewhere, with a cookie.
pub(super) fn leave(to: &str, cookie: Option<HeaderValue>) -> Response {
    let mut response = Redirect::to(to).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// A path of this server, or `/`: nobody is sent elsewhere by a link to this page.
pub(super) fn local(to: &str) -> &str {
    let plain = to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if plain && to.starts_with('/') && !to.starts_with("//") { to } else { "/" }
}

/// Such as `for acme, globex`.
pub(super) fn whose(tenants: &Tenants) -> String {
    match tenants.only() {
        None => "for all tenants".to_owned(),
        Some(tenants) => {
            format!("for {}", tenants.iter().cloned().collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for (to, there) in [
            ("/v1/events?limit=2&actor=user:7", "/v1/events?limit=2&actor=user:7"),
            ("/", "/"),
            ("", "/"),
            ("v1", "/"),
            ("//evil.example/", "/"),
            ("/\\evil.example/", "/"),
            ("\\\\evil.example/", "/"),
            ("https://evil.example/", "/"),
            ("javascript:alert(1)", "/"),
            ("/\t/evil.example", "/"),
            ("/\r\nSet-Cookie: a=b", "/"),
            ("/é", "/"),
        ] {
            assert_eq!(local(to), there, "{to:?}");
        }
    }
}
