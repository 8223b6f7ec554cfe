//! The one crypto provider: aws-lc-rs, installed once per process.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

/// Makes aws-lc-rs the process default of rustls. Call it first in every `main` and in every test
/// that speaks TLS; calling it again changes nothing.
pub fn install() {
    // An error means some default is set already; `provider()` is explicit and does not depend on it.
    let _already_set = CryptoProvider::install_default((*provider()).clone());
}

/// The provider, for builders that take one explicitly.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_twice_is_harmless() {
        install();
        install();
        assert!(CryptoProvider::get_default().is_some());
        assert!(!provider().cipher_suites.is_empty());
    }
}
