//! bixi-hsm-pkcs11.
