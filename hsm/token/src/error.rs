//! The one error of the module: a PKCS#11 return value.

use cryptoki_sys::{CK_RV, CKR_DEVICE_ERROR, CKR_DEVICE_MEMORY};

/// A refusal, as the `CKR_` number the caller of the C function will see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CKR 0x{0:08x}")]
pub(crate) struct CkError(pub(crate) CK_RV);

/// Result of every inner function.
pub(crate) type CkResult<T> = Result<T, CkError>;

/// `Err` of the given `CKR_` number.
pub(crate) fn refuse<T>(code: CK_RV) -> CkResult<T> {
    Err(CkError(code))
}

impl From<std::io::Error> for CkError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => CkError(CKR_DEVICE_MEMORY),
            _ => CkError(CKR_DEVICE_ERROR),
        }
    }
}
