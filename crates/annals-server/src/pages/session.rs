//! Signing in and out.

use std::sync::Arc;
use std::time::Duration;

use annals::access::{Means, Token};
use annals::{Error, ErrorKind, unit};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::form::Form;
use super::show::{self, HomePage, SignInPage, WelcomePage, go, local, message, page};
use super::{Pages, home_of};
use crate::access::{Asked, NOT_SIGNED_IN, Origin, SIGNED_OUT};
use crate::provider::Provider;

/// How long a password may wait to be checked.
const WAIT: Duration = Duration::from_secs(10);

/// Where somebody wants to go.
#[derive(Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// `GET /`
pub(super) async fn home(State(pages): State<Arc<Pages>>, request: Request) -> Response {
    let caller = pages.caller(request.headers(), Origin::of(&request)).await;
    let Some(who) = caller.as_ref().and_then(|caller| caller.signed_in()) else {
        return go("/sign-in", None);
    };
    let until = who.session.expires_at.to_string();
    let shown = HomePage {
        name: &who.person.name,
        role: who.person.role.as_str(),
        whose: show::whose(&who.person.tenants),
        until: until.split('.').next().unwrap_or_default().replace('T', " ") + " UTC",
        page_token: &pages.known.page_token(&who.session),
    };
    page(StatusCode::OK, &shown)
}

/// `GET /sign-in`
pub(super) async fn sign_in(
    State(pages): State<Arc<Pages>>,
    Query(Next { next }): Query<Next>,
    request: Request,
) -> Response {
    if pages.caller(request.headers(), Origin::of(&request)).await.is_some() {
        return go(&next, None);
    }
    ask(&pages, StatusCode::OK, None, "", &next)
}

fn ask(pages: &Pages, status: StatusCode, fault: Option<&str>, name: &str, next: &str) -> Response {
    let provider = pages.provider.as_ref().map(Provider::name);
    page(status, &SignInPage { fault, name, next: local(next), provider })
}

#[derive(Deserialize)]
pub(super) struct Shows {
    name: String,
    password: Zeroizing<String>,
    #[serde(default)]
    next: String,
}

/// `POST /sign-in`
pub(super) async fn signed_in(
    State(pages): State<Arc<Pages>>,
    Form { sent: Shows { name, password, next }, asked, .. }: Form<Shows>,
) -> Response {
    let home = home_of(&asked);
    let whose = (name.trim().to_lowercase(), home);
    let now = Instant::now();
    // Taken first and given back to who was right, so that nobody tries many at once.
    let allowed = pages.by_address.take(home, now);
    if let Err(wait) = allowed.and_then(|()| pages.by_name.take(whose.clone(), now)) {
        return too_often(&pages, &asked, wait, &name, &next);
    }
    let Ok(Ok(_place)) = timeout(WAIT, pages.hashing.acquire()).await else {
        let text = "Too many people sign in at once. Try again in a moment.";
        return message(StatusCode::SERVICE_UNAVAILABLE, "Busy", text);
    };
    let person = match pages.people.recognise(&name, password).await {
        Ok(Some(person)) => person,
        Ok(None) => {
            let status = StatusCode::FORBIDDEN;
            pages.access.trail.tell_of_refusal(NOT_SIGNED_IN, &asked, None, status);
            let fault = "The name or the password is wrong.";
            return ask(&pages, status, Some(fault), &name, &next);
        }
        Err(error) => return show::error(&error),
    };
    pages.by_address.give_back(&home);
    pages.by_name.give_back(&whose);
    match pages.begin(&person, Means::Password, &asked).await {
        Ok(cookie) => go(&next, cookie),
        Err(error) => show::error(&error),
    }
}

pub(super) fn too_often(
    pages: &Pages,
    asked: &Asked,
    wait: Duration,
    name: &str,
    next: &str,
) -> Response {
    let status = StatusCode::TOO_MANY_REQUESTS;
    pages.access.trail.tell_of_refusal(NOT_SIGNED_IN, asked, None, status);
    let seconds = wait.as_secs() + 1;
    let fault = format!(
        "There were too many attempts. Wait {}, and try again.",
        unit::format_duration(Duration::from_secs(seconds))
    );
    let mut response = ask(pages, status, Some(&fault), name, next);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

#[derive(Deserialize)]
pub(super) struct Leaves {
    page_token: String,
}

/// `POST /sign-out`
pub(super) async fn sign_out(
    State(pages): State<Arc<Pages>>,
    Form { sent: Leaves { page_token }, asked, from, headers }: Form<Leaves>,
) -> Response {
    let caller = pages.caller(&headers, from).await;
    if let Some(who) = caller.as_ref().and_then(|caller| caller.signed_in()) {
        if !pages.known.is_page_token(&who.session, &page_token) {
            let text = "The page was of another session. Open it again.";
            return message(StatusCode::FORBIDDEN, "Not signed out", text);
        }
        let ended = async {
            pages.people.end(&who.session.id).await?;
            pages.known.refresh().await
        };
        if let Err(error) = ended.await {
            return show::error(&error);
        }
        let tells = json!({ "session": who.session.id });
        pages.access.trail.tell_of_session(SIGNED_OUT, &asked, who.person.actor(), &tells);
    }
    go("/sign-in", pages.cookies.take())
}

#[derive(Deserialize)]
pub(super) struct Linked {
    #[serde(default)]
    link: String,
}

/// `GET /welcome`: nothing is used up by looking at it, as programs do that read mail.
pub(super) async fn welcome(
    State(pages): State<Arc<Pages>>,
    Query(Linked { link }): Query<Linked>,
    request: Request,
) -> Response {
    let mut asked = Asked::of(&request, "/welcome");
    // The link is a secret.
    asked.context.url = Some("/welcome".into());
    if let Err(wait) = pages.by_address.take(home_of(&asked), Instant::now()) {
        return too_often(&pages, &asked, wait, "", "/");
    }
    let Ok(token) = link.parse::<Token>() else { return used() };
    match pages.people.asked(&token).await {
        Ok(Some(person)) => {
            pages.by_address.give_back(&home_of(&asked));
            page(StatusCode::OK, &WelcomePage::of(&person, &person.name, &link))
        }
        Ok(None) => used(),
        Err(error) => show::error(&error),
    }
}

fn used() -> Response {
    let text = "It was used, is too old, or was never made. Ask an administrator for another \
                one; `annals people link` makes it.";
    message(StatusCode::NOT_FOUND, "This link does not work", text)
}

#[derive(Deserialize)]
pub(super) struct Welcomed {
    link: String,
    name: String,
    password: Zeroizing<String>,
}

/// `POST /welcome`
pub(super) async fn welcomed(
    State(pages): State<Arc<Pages>>,
    Form { sent: Welcomed { link, name, password }, asked, .. }: Form<Welcomed>,
) -> Response {
    if let Err(wait) = pages.by_address.take(home_of(&asked), Instant::now()) {
        return too_often(&pages, &asked, wait, "", "/");
    }
    let Ok(token) = link.parse::<Token>() else { return used() };
    let person = match pages.people.asked(&token).await {
        Ok(Some(person)) => person,
        Ok(None) => return used(),
        Err(error) => return show::error(&error),
    };
    pages.by_address.give_back(&home_of(&asked));
    let Ok(Ok(_place)) = timeout(WAIT, pages.hashing.acquire()).await else {
        let text = "Too many people sign in at once. Try again in a moment.";
        return message(StatusCode::SERVICE_UNAVAILABLE, "Busy", text);
    };
    let welcomed = pages.people.welcome(&token, Some(&name), password).await;
    let begun = match welcomed {
        Ok(person) => pages.begin(&person, Means::Link, &asked).await,
        Err(error) if error.kind() == ErrorKind::Usage => {
            let fault = sentence(&error);
            let shown = WelcomePage::of(&person, &name, &link).fault(&fault);
            return page(StatusCode::UNPROCESSABLE_ENTITY, &shown);
        }
        Err(error) => Err(error),
    };
    match begun {
        Ok(cookie) => go("/", cookie),
        Err(error) => show::error(&error),
    }
}

/// What was found, as a sentence.
fn sentence(error: &Error) -> String {
    let found = error.found().to_string();
    let mut characters = found.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), characters.as_str())
}
