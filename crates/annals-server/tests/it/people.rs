//! People: their pages, their sessions, and what their role lets them.

mod oidc;
mod roles;
mod signing_in;

use annals::access::{Person, Role};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::http::{Reply, Request};
use crate::reading::{Scene, whose};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// Somebody's browser, in which they have signed in.
pub(crate) struct Browser<'a> {
    scene: &'a Scene,
    pub(crate) person: Person,
    /// The cookie, as it is sent.
    pub(crate) cookie: String,
    pub(crate) page_token: String,
}

impl Scene {
    /// Somebody who can sign in.
    pub(crate) async fn person(&self, name: &str, role: Role, tenants: &[&str]) -> Person {
        let (_, link) = self.people().invite(name, role, whose(tenants), None).await.unwrap();
        let password = Zeroizing::new(PASSWORD.to_owned());
        self.people().welcome(&link, None, password).await.unwrap()
    }

    /// Somebody who has signed in.
    pub(crate) async fn browser(&self, name: &str, role: Role, tenants: &[&str]) -> Browser<'_> {
        let person = self.person(name, role, tenants).await;
        let reply = self.sign_in(name, PASSWORD).await;
        assert_eq!(reply.status, 303, "{}", reply.text());
        let cookie = cookie(&reply);
        let me = Request::get(self.address, "/v1/me").with("Cookie", &cookie);
        let me = me.send(self.address).await.json();
        assert_eq!(me["name"], name);
        let page_token = me["page_token"].as_str().unwrap().to_owned();
        Browser { scene: self, person, cookie, page_token }
    }

    pub(crate) async fn sign_in(&self, name: &str, password: &str) -> Reply {
        self.form("/sign-in", &[("name", name), ("password", password)]).send(self.address).await
    }

    /// A form of a page of the server's own.
    pub(crate) fn form(&self, path: &str, fields: &[(&str, &str)]) -> Request {
        let body = serde_urlencoded::to_string(fields).unwrap();
        Request::post(self.address, body)
            .line(&format!("POST {path} HTTP/1.1"))
            .with("Content-Type", "application/x-www-form-urlencoded")
            .with("Origin", &format!("http://{}", self.address))
            .with("Sec-Fetch-Site", "same-origin")
    }
}

impl Browser<'_> {
    pub(crate) async fn get(&self, path: &str) -> Reply {
        let request = Request::get(self.scene.address, path).with("Cookie", &self.cookie);
        request.send(self.scene.address).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.request(method, path, body).send(self.scene.address).await
    }

    /// A change that a page of the server's own asks for.
    pub(crate) fn request(&self, method: &str, path: &str, body: &Value) -> Request {
        let address = self.scene.address;
        Request::post(address, body.to_string())
            .line(&format!("{method} {path} HTTP/1.1"))
            .with("Cookie", &self.cookie)
            .with("Origin", &format!("http://{address}"))
            .with("Sec-Fetch-Site", "same-origin")
            .with("X-Page-Token", &self.page_token)
    }
}

/// The cookie that an answer gives.
pub(crate) fn cookie(reply: &Reply) -> String {
    let given = reply.header("set-cookie").unwrap();
    given.split(';').next().unwrap().to_owned()
}
