// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Option values of the form `key=value,key=value`.

use std::fmt;
use std::str::FromStr;

/// What is wrong with an option's value. Each message starts with the option's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A key that the option does not have.
    #[error("{option}: unknown key '{key}' (known: {})", known.join(", "))]
    UnknownKey {
        /// The option, with its dashes.
        option: &'static str,
        /// The key as it was given.
        key: String,
        /// The keys that the option has.
        known: Vec<&'static str>,
    },
    /// A key that must be there is not.
    #[error("{option}: missing key '{key}'")]
    MissingKey {
        /// The option, with its dashes.
        option: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A key was given twice.
    #[error("{option}: key '{key}' is given twice")]
    DuplicateKey {
        /// The option, with its dashes.
        option: &'static str,
        /// The key.
        key: String,
    },
    /// A part that has no `=`.
    #[error("{option}: '{part}' is not of the form key=value (known keys: {})", known.join(", "))]
    NoValue {
        /// The option, with its dashes.
        option: &'static str,
        /// The part as it was given.
        part: String,
        /// The keys that the option has.
        known: Vec<&'static str>,
    },
    /// A value that the key can't have.
    #[error("{option}: bad value '{value}' for key '{key}': {reason}")]
    BadValue {
        /// The option, with its dashes.
        option: &'static str,
        /// The key.
        key: &'static str,
        /// The value as it was given.
        value: String,
        /// What a value should be.
        reason: String,
    },
    /// A value that the option, which has no keys, can't have.
    #[error("{option}: bad value '{value}': {reason}")]
    BadOption {
        /// The option, with its dashes.
        option: &'static str,
        /// The value as it was given.
        value: String,
        /// What a value should be.
        reason: String,
    },
}

/// The parsed parts of one option's value.
#[derive(Clone, Debug)]
pub struct OptionParser {
    option: &'static str,
    values: Vec<(&'static str, String)>,
}

impl OptionParser {
    /// Splits `input`, the value of `option`, into the keys `known`.
    ///
    /// # Errors
    /// [`OptionError::UnknownKey`], [`OptionError::DuplicateKey`] and [`OptionError::NoValue`].
    pub fn parse(
        option: &'static str,
        known: &[&'static str],
        input: &str,
    ) -> Result<Self, OptionError> {
        let mut values: Vec<(&'static str, String)> = Vec::new();
        for part in input.split(',') {
            let Some((key, value)) = part.split_once('=') else {
                let (part, known) = (part.to_string(), known.to_vec());
                return Err(OptionError::NoValue { option, part, known });
            };
            let Some(key) = known.iter().copied().find(|known| *known == key) else {
                let (key, known) = (key.to_string(), known.to_vec());
                return Err(OptionError::UnknownKey { option, key, known });
            };
            if values.iter().any(|(seen, _)| *seen == key) {
                return Err(OptionError::DuplicateKey { option, key: key.to_string() });
            }
            values.push((key, value.to_string()));
        }
        Ok(Self { option, values })
    }

    /// The value of `key`, if it was given.
    ///
    /// # Errors
    /// [`OptionError::BadValue`] if it is not a `T`.
    pub fn get<T: FromStr>(&self, key: &'static str) -> Result<Option<T>, OptionError>
    where
        T::Err: fmt::Display,
    {
        let Some((_, value)) = self.values.iter().find(|(given, _)| *given == key) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|e| self.bad_value(key, e))
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`OptionError::MissingKey`] if it was not given, [`OptionError::BadValue`] if it is not a `T`.
    pub fn require<T: FromStr>(&self, key: &'static str) -> Result<T, OptionError>
    where
        T::Err: fmt::Display,
    {
        self.get(key)?.ok_or(OptionError::MissingKey { option: self.option, key })
    }

    /// The error that says what is wrong with the value of `key`.
    pub fn bad_value(&self, key: &'static str, reason: impl fmt::Display) -> OptionError {
        let given = self.values.iter().find(|(given, _)| *given == key);
        let value = given.map(|(_, value)| value.clone()).unwrap_or_default();
        OptionError::BadValue { option: self.option, key, value, reason: reason.to_string() }
    }
}

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toggle(pub bool);

impl FromStr for Toggle {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "on" => Ok(Self(true)),
            "off" => Ok(Self(false)),
            _ => Err("expected on or off"),
        }
    }
}

/// A number of bytes: digits and K, M or G for powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (digits, shift) = match s.as_bytes().last() {
            Some(b'K') => (s.trim_end_matches('K'), 10),
            Some(b'M') => (s.trim_end_matches('M'), 20),
            Some(b'G') => (s.trim_end_matches('G'), 30),
            _ => (s, 0),
        };
        let suffix = s.len() - digits.len();
        if suffix > 1 || digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err("expected a number of bytes with an optional suffix K, M or G");
        }
        let size: u64 = digits.parse().map_err(|_| "too large")?;
        size.checked_mul(1 << shift).map(Self).ok_or("too large")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[&str] = &["topology", "testdev"];

    fn error(input: &str) -> String {
        OptionParser::parse("--platform", KEYS, input).unwrap_err().to_string()
    }

    #[test]
    fn keys_come_in_any_order_and_any_number() {
        let parsed = OptionParser::parse("--platform", KEYS, "testdev=on,topology=pic").unwrap();
        assert_eq!(parsed.require("topology"), Ok("pic".to_string()));
        assert_eq!(parsed.get("testdev"), Ok(Some(Toggle(true))));
        let parsed = OptionParser::parse("--platform", KEYS, "topology=pic").unwrap();
        assert_eq!(parsed.get::<Toggle>("testdev"), Ok(None));
    }

    #[test]
    fn errors_name_the_option_and_the_key() {
        assert_eq!(error("foo=1"), "--platform: unknown key 'foo' (known: topology, testdev)");
        assert_eq!(error("testdev=on,testdev=off"), "--platform: key 'testdev' is given twice");
        assert_eq!(
            error("testdev"),
            "--platform: 'testdev' is not of the form key=value (known keys: topology, testdev)"
        );
        assert!(error("testdev=on,").contains("'' is not of the form"));
        assert!(error("").contains("'' is not of the form"));
        let parsed = OptionParser::parse("--platform", KEYS, "testdev=yes").unwrap();
        assert_eq!(
            parsed.get::<Toggle>("testdev").unwrap_err().to_string(),
            "--platform: bad value 'yes' for key 'testdev': expected on or off"
        );
        assert_eq!(
            parsed.require::<String>("topology").unwrap_err().to_string(),
            "--platform: missing key 'topology'"
        );
    }

    #[test]
    fn a_value_may_contain_an_equals_sign() {
        let parsed = OptionParser::parse("--platform", KEYS, "topology=a=b").unwrap();
        assert_eq!(parsed.require("topology"), Ok("a=b".to_string()));
    }

    #[test]
    fn sizes_have_suffixes_of_powers_of_1024() {
        let parse = |s: &str| s.parse::<ByteSize>().map(|size| size.0);
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("4K"), Ok(4096));
        assert_eq!(parse("512M"), Ok(512 << 20));
        assert_eq!(parse("3G"), Ok(3 << 30));
        assert_eq!(parse("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse("17179869184G"), Err("too large"));
        assert_eq!(parse("18446744073709551616"), Err("too large"));
        for bad in ["", "M", "12T", "1 M", "-1", "+1", "1MM", "1.5G", "0x10", "1KM", "1m"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
