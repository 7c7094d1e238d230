//! Positional parameters of FISCO BCOS's methods: `[group, node, …]`.

use std::str::FromStr;

use jsonrpsee::types::Params as RawParams;
use serde_json::Value;

use crate::api::ChainInfo;
use crate::error::{ApiError, quoted};

/// The positional parameters of one call.
pub(crate) struct Positional(Vec<Value>);

impl Positional {
    pub(crate) fn parse(params: &RawParams<'_>) -> Result<Self, ApiError> {
        let text = params.as_str().unwrap_or("[]");
        serde_json::from_str(text)
            .map(Self)
            .map_err(|_| ApiError::Params("params must be an array of positional parameters".into()))
    }

    /// Checks `[group, node, …]` against what this node serves. An empty node name means any.
    pub(crate) fn expect_node(&self, chain: &ChainInfo) -> Result<(), ApiError> {
        self.expect_group(chain)?;
        match self.optional_text(1)? {
            Some(name) if !name.is_empty() && name != chain.node.name => {
                Err(ApiError::NodeNotExist { found: quoted(name), served: chain.node.name.clone() })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn expect_group(&self, chain: &ChainInfo) -> Result<(), ApiError> {
        let group = self.text(0, "group")?;
        if group == chain.group_id {
            return Ok(());
        }
        Err(ApiError::GroupNotExist { found: quoted(group), served: chain.group_id.clone() })
    }

    pub(crate) fn text(&self, index: usize, name: &str) -> Result<&str, ApiError> {
        self.0
            .get(index)
            .and_then(Value::as_str)
            .ok_or_else(|| ApiError::Params(format!("parameter {} ({name}) must be a string", index + 1)))
    }

    fn optional_text(&self, index: usize) -> Result<Option<&str>, ApiError> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::Params(format!("parameter {} must be a string", index + 1))),
        }
    }

    pub(crate) fn id<T: FromStr>(&self, index: usize, name: &str) -> Result<T, ApiError>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.text(index, name)?;
        text.parse().map_err(|error| ApiError::Params(format!("parameter {} ({name}): {error}", index + 1)))
    }

    pub(crate) fn number(&self, index: usize, name: &str) -> Result<u64, ApiError> {
        self.0.get(index).and_then(Value::as_u64).ok_or_else(|| {
            ApiError::Params(format!("parameter {} ({name}) must be a JSON number, whole and not negative", index + 1))
        })
    }

    /// A truth value; FISCO BCOS takes 0 and 1 too.
    pub(crate) fn flag(&self, index: usize, default: bool) -> Result<bool, ApiError> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::Number(number)) if number.as_u64() == Some(0) => Ok(false),
            Some(Value::Number(number)) if number.as_u64() == Some(1) => Ok(true),
            Some(_) => Err(ApiError::Params(format!("parameter {} must be true or false", index + 1))),
        }
    }

    /// Hexadecimal bytes with optional 0x prefix.
    pub(crate) fn bytes(&self, index: usize, name: &str) -> Result<Vec<u8>, ApiError> {
        let text = self.text(index, name)?;
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        hex::decode(digits).map_err(|error| {
            ApiError::Params(format!("parameter {} ({name}) must be hexadecimal bytes: {error}", index + 1))
        })
    }

    pub(crate) fn has(&self, index: usize) -> bool {
        self.0.get(index).is_some_and(|value| !value.is_null())
    }
}
