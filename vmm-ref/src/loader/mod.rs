// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest images: bzImage, ELF, PVH and Multiboot.
