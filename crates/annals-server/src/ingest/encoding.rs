//! Bodies that are compressed (RFC 9110, 8.4): gzip and zstd, one of them, once.
//!
//! What a body becomes is bounded as a plain body is, while it is made: one that explodes is
//! refused when it reaches the bound, and has taken no more memory than that.

use std::io::{self, BufRead, Read};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use flate2::bufread::MultiGzDecoder;

use crate::problem::Problem;

/// What is made at a time.
const STEP: usize = 64 * 1024;

/// How far back a zstd body may refer, as a power of two: 8 MiB, which is what RFC 8878
/// recommends every decoder to take, and none to exceed.
const WINDOW_LOG: u32 = 23;

/// The encodings that are understood, for `Accept-Encoding` of an answer (RFC 9110, 12.5.3).
const UNDERSTOOD: HeaderValue = HeaderValue::from_static("gzip, zstd");

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Why a body is not decoded.
#[derive(Debug)]
pub(super) enum Undecoded {
    /// It is not what it says it is, or not all of it.
    Broken(io::Error),
    /// It is larger than this.
    TooLarge(usize),
    /// There is no room for it.
    NoRoom(Problem),
}

impl Encoding {
    /// As a request names it.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut given = headers.get_all(header::CONTENT_ENCODING).iter();
        let (encoding, None) = (given.next(), given.next()) else {
            return Err(unsupported("there are several Content-Encoding headers"));
        };
        let Some(encoding) = encoding else { return Ok(Self::Identity) };
        match encoding.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "identity" => Ok(Self::Identity),
            // RFC 9110, 8.4.1.3.
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(unsupported(&format!("Content-Encoding {encoding:?} is not understood"))),
        }
    }

    /// The body as it was before it was encoded, of `limit` bytes at most; `hold` is asked for
    /// room before each part of it.
    pub(super) fn decode(
        self,
        body: Vec<u8>,
        limit: usize,
        hold: impl FnMut(usize) -> Result<(), Problem>,
    ) -> Result<Vec<u8>, Undecoded> {
        match self {
            Self::Identity => Ok(body),
            Self::Gzip => unfold(MultiGzDecoder::new(&*body), limit, hold),
            Self::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(&*body).map_err(Undecoded::Broken)?;
                decoder.window_log_max(WINDOW_LOG).map_err(Undecoded::Broken)?;
                unfold(decoder, limit, hold)
            }
        }
    }
}

fn unfold(
    mut decoder: impl Read,
    limit: usize,
    mut hold: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Vec<u8>, Undecoded> {
    let (mut bytes, mut step) = (Vec::new(), io::BufReader::with_capacity(STEP, &mut decoder));
    loop {
        let part = step.fill_buf().map_err(Undecoded::Broken)?;
        if part.is_empty() {
            return Ok(bytes);
        }
        if bytes.len() + part.len() > limit {
            return Err(Undecoded::TooLarge(limit));
        }
        hold(part.len()).map_err(Undecoded::NoRoom)?;
        bytes.extend_from_slice(part);
        let taken = part.len();
        step.consume(taken);
    }
}

fn unsupported(what: &str) -> Problem {
    let detail = format!("{what}; send the body as it is, or encoded as gzip or zstd");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
        .header(header::ACCEPT_ENCODING, UNDERSTOOD)
}

impl From<Undecoded> for Problem {
    fn from(why: Undecoded) -> Self {
        match why {
            Undecoded::Broken(error) => {
                let detail = format!("the body cannot be decoded: {error}; nothing was taken");
                Self::new(StatusCode::BAD_REQUEST, detail)
            }
            Undecoded::TooLarge(limit) => {
                let detail =
                    format!("decoded the body is over the limit of {limit} bytes; split it");
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
            }
            Undecoded::NoRoom(busy) => busy,
        }
    }
}
