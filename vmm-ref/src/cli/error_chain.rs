// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How the program says why it failed, in Cloud Hypervisor's words.

use std::error::Error;
use std::fmt::Write;

/// The message for `error` and its causes, one cause to a line, the outermost first:
///
/// ```text
/// Error: vmm-ref exited with the following chain of errors:
///   0: Error booting VM
///   1: ...
/// ```
pub fn format(error: &dyn Error) -> String {
    let mut messages = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        messages.push(error.to_string());
        cause = error.source();
    }
    // A wrapper that is transparent repeats its cause.
    messages.dedup();
    let mut text = "Error: vmm-ref exited with the following ".to_string();
    match messages.as_slice() {
        [only] => {
            let _ = write!(text, "error:\n  {only}");
        }
        all => {
            text.push_str("chain of errors:");
            for (level, message) in all.iter().enumerate() {
                let _ = write!(text, "\n  {level}: {message}");
            }
        }
    }
    text
}

/// Prints an error and its causes to standard error.
pub fn report(error: &anyhow::Error) {
    eprintln!("{}", format(error.as_ref()));
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_chain_is_numbered_from_the_outermost() {
        let error = anyhow!("No such file or directory (os error 2)")
            .context("Cannot open the kernel /nowhere")
            .context("Error booting VM");
        assert_eq!(
            format(error.as_ref()),
            "Error: vmm-ref exited with the following chain of errors:\n  \
             0: Error booting VM\n  \
             1: Cannot open the kernel /nowhere\n  \
             2: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_single_error_has_no_number() {
        assert_eq!(
            format(anyhow!("--cpus: missing key 'boot'").as_ref()),
            "Error: vmm-ref exited with the following error:\n  --cpus: missing key 'boot'"
        );
    }
}
