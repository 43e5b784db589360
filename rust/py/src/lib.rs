//! `smblock._core`: the store as Python sees it.
