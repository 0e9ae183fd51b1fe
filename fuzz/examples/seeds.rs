// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Writes the seed corpora: `corpus/<target>/<name>.seed`, from each target's `seeds()`.

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in interrupt_fuzz::TARGETS {
        let directory = corpus.join(target.name);
        fs::create_dir_all(&directory)?;
        for (name, bytes) in (target.seeds)() {
            fs::write(directory.join(name).with_extension("seed"), bytes)?;
        }
    }
    Ok(())
}
