//! What Symfony applications put into their queue.

mod php;
