//! Signing in by a provider of identities.

use std::sync::Arc;
use std::time::Duration;

use annals::access::Means;
use annals::{ErrorKind, Timestamp};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use tokio::time::Instant;

use super::session::too_often;
use super::show::{self, go, local, message};
use super::{Pages, home_of};
use crate::access::{Asked, NOT_SIGNED_IN};
use crate::provider::{Going, Provider};

/// Where the provider sends people back to.
pub(super) const BACK: &str = "/sign-in/provider/callback";

/// The cookie of somebody who was sent to the provider.
const GOING: &str = "annals-signing-in";

/// How long somebody may take there.
const LASTS: Duration = Duration::from_secs(600);

#[derive(Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// `GET /sign-in/provider`
pub(super) async fn there(
    State(pages): State<Arc<Pages>>,
    Query(Next { next }): Query<Next>,
    request: Request,
) -> Response {
    let Some(provider) = pages.provider.clone() else { return none() };
    let asked = Asked::of(&request, "/sign-in/provider");
    if let Err(wait) = pages.by_address.take(home_of(&asked), Instant::now()) {
        return too_often(&pages, &asked, wait, "", &next);
    }
    let Some(origin) = pages.ours.origin_of(request.headers()) else { return none() };
    match provider.way(format!("{origin}{BACK}"), local(&next).to_owned()).await {
        Ok((url, going)) => {
            pages.by_address.give_back(&home_of(&asked));
            // Texts and a number: there is no way to fail.
            let text = serde_json::to_string(&going).unwrap_or_default();
            let cookie = pages.cookies.set(GOING, &pages.known.sign_text(&text), LASTS);
            show::leave(&url, cookie)
        }
        Err(error) => cannot(&provider, &error),
    }
}

#[derive(Deserialize)]
pub(super) struct Comes {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// `GET /sign-in/provider/callback`
pub(super) async fn back(
    State(pages): State<Arc<Pages>>,
    Query(comes): Query<Comes>,
    request: Request,
) -> Response {
    let Some(provider) = pages.provider.clone() else { return none() };
    let mut asked = Asked::of(&request, BACK);
    // The code is a secret.
    asked.context.url = Some(BACK.into());
    if let Err(wait) = pages.by_address.take(home_of(&asked), Instant::now()) {
        return too_often(&pages, &asked, wait, "", "/");
    }
    let denied = |status: StatusCode, title: &str, text: &str| {
        pages.access.trail.tell_of_refusal(NOT_SIGNED_IN, &asked, None, status);
        let mut response = message(status, title, text);
        let cookie = pages.cookies.set(GOING, "", Duration::ZERO);
        response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
        response
    };
    let going = going(&pages, request.headers());
    let is_theirs = |going: &Going| {
        comes.state.as_deref() == Some(&*going.state)
            && Timestamp::now().as_millis() < going.until
            // RFC 9207: of two providers, the one that was asked.
            && comes.iss.as_deref().is_none_or(|issuer| issuer == provider.issuer())
    };
    let Some(going) = going.filter(is_theirs) else {
        let text = "It was begun elsewhere, or too long ago. Begin again.";
        return denied(StatusCode::FORBIDDEN, "Not signed in", text);
    };
    let code = match (&comes.code, &comes.error) {
        (Some(code), None) => code,
        (_, error) => {
            let why = error.as_deref().unwrap_or("no code");
            let text = format!("{} did not say who you are: {why}.", provider.name());
            return denied(StatusCode::FORBIDDEN, "Not signed in", &text);
        }
    };
    let who = match provider.who(&going, code).await {
        Ok(who) => who,
        Err(error) if error.kind() == ErrorKind::Usage => {
            tracing::warn!(%error, "a provider of identities is not believed");
            let text = format!("What {} says of you cannot be believed.", provider.name());
            return denied(StatusCode::FORBIDDEN, "Not signed in", &text);
        }
        Err(error) => return cannot(&provider, &error),
    };
    let Some((role, tenants)) = who.role else {
        let text = format!(
            "{} knows you as {}, and nothing there gives you a role here. Ask whoever \
             administers it.",
            provider.name(),
            who.name
        );
        return denied(StatusCode::FORBIDDEN, "You have no role here", &text);
    };
    let person = pages.people.recognise_subject(who.subject, &who.name, role, tenants).await;
    let begun = match person {
        Ok(Some(person)) => pages.begin(&person, Means::Provider, &asked).await,
        Ok(None) => {
            let text = "An administrator has kept you out.";
            return denied(StatusCode::FORBIDDEN, "You may not sign in", text);
        }
        Err(error) if error.kind() == ErrorKind::Usage => {
            tracing::warn!(%error, "somebody whom the provider recognises cannot be let in");
            let text = "Somebody of your name is here already, who signs in otherwise. Ask an \
                        administrator.";
            return denied(StatusCode::CONFLICT, "Not signed in", text);
        }
        Err(error) => Err(error),
    };
    match begun {
        Ok(cookie) => {
            pages.by_address.give_back(&home_of(&asked));
            let mut response = go(&going.next, cookie);
            let used = pages.cookies.set(GOING, "", Duration::ZERO);
            if let Some(cookie) = used {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(error) => show::error(&error),
    }
}

/// What the browser that was sent to the provider has kept.
fn going(pages: &Pages, headers: &HeaderMap) -> Option<Going> {
    let text = pages.known.read_signed(pages.cookies.value(headers, GOING)?)?;
    serde_json::from_str(&text).ok()
}

fn none() -> Response {
    let text = "There is no provider of identities here. Sign in with a password.";
    message(StatusCode::NOT_FOUND, "There is nothing here", text)
}

fn cannot(provider: &Provider, error: &annals::Error) -> Response {
    tracing::warn!(%error, "cannot ask a provider of identities");
    let text = format!("{} cannot be reached. Try again in a moment.", provider.name());
    message(StatusCode::BAD_GATEWAY, "Not signed in", &text)
}
