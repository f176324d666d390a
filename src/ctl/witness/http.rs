//! One HTTP request to one witness.
//!
//! The only code of greffier that opens a connection to another machine. Must never follow a redirection, wait without
//! end, or keep more of an answer than its bound.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::core::ledger::witness::{Answer, AnswerError, MAX_ANSWER_BYTES, read_answer};

/// Longest header of an answer, in bytes.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// A request without an answer that can be read.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The address in the policy is none.
    #[error("{0:?} is no address of a witness; it begins with https:// or http://")]
    Address(String),
    /// Nobody there, or no answer in time, or a break in the middle.
    #[error("it cannot be reached ({0})")]
    Unreachable(String),
    /// More than an answer can have.
    #[error("its answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    /// What came is not what tlog-witness says.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// Sends requests.
pub struct Client {
    agent: Agent,
}

impl Client {
    /// No request takes longer than `patience`. Trusts the certificate authorities of the system (SSL_CERT_FILE and
    /// SSL_CERT_DIR name others).
    pub fn new(patience: Duration) -> Self {
        // Roots that cannot be read are missed by a witness whose address needs them: that says so then.
        let roots = rustls_native_certs::load_native_certs().certs;
        let roots: Vec<Certificate<'static>> =
            roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(RootCerts::new_with_certs(&roots))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(patience))
            .max_redirects(0)
            .max_response_header_size(MAX_HEADER_BYTES)
            .http_status_as_error(false)
            // A witness has one address, that of the policy.
            .proxy(None)
            .user_agent(concat!("greffierctl/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent() }
    }

    /// Posts `body` to `add-checkpoint` below `prefix`, the submission prefix.
    pub fn add_checkpoint(&self, prefix: &str, body: &str) -> Result<Answer, PostError> {
        let address = || PostError::Address(prefix.to_owned());
        if !prefix.starts_with("https://") && !prefix.starts_with("http://") {
            return Err(address());
        }
        let url = format!("{}/add-checkpoint", prefix.trim_end_matches('/'));
        let sent = self.agent.post(&url).content_type("text/plain; charset=utf-8").send(body);
        let mut response = sent.map_err(|error| match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => address(),
            error => PostError::Unreachable(error.to_string()),
        })?;
        let media = response.headers().get("content-type").and_then(|it| it.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let limit = MAX_ANSWER_BYTES as u64;
        let body =
            response.body_mut().with_config().limit(limit).read_to_vec().map_err(|error| match error {
                ureq::Error::BodyExceedsLimit(_) => PostError::TooLong,
                error => PostError::Unreachable(error.to_string()),
            })?;
        Ok(read_answer(status, media.as_deref(), &body)?)
    }
}
