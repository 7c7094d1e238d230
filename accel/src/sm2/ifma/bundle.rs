//! One or two of everything: a formula over `[F; 2]` computes two independent results step by step, so that one can use the
//! units while the other waits for its last product.
//!
//! (Written out for each count: a closure would not be inlined into functions with target features.)

use super::field::{Columns, Field, Product};

macro_rules! bundle {
    ($count:literal: $($i:literal)+) => {
        impl<F: Field> Field for [F; $count] {
            type Product = [F::Product; $count];
            type Columns = [F::Columns; $count];
            type Mask = [F::Mask; $count];

            #[inline(always)]
            fn times(&self, other: &Self) -> Self::Product {
                [$(self[$i].times(&other[$i])),+]
            }

            #[inline(always)]
            fn squared(&self) -> Self::Product {
                [$(self[$i].squared()),+]
            }

            #[inline(always)]
            fn columns(&self) -> Self::Columns {
                [$(self[$i].columns()),+]
            }

            #[inline(always)]
            fn multiply(&self, other: &Self) -> Self::Columns {
                [$(self[$i].multiply(&other[$i])),+]
            }

            #[inline(always)]
            fn square(&self) -> Self::Columns {
                [$(self[$i].square()),+]
            }
        }

        impl<P: Product> Product for [P; $count] {
            type Columns = [P::Columns; $count];

            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                [$(self[$i].minus(other[$i])),+]
            }

            #[inline(always)]
            fn reduce(self) -> Self::Columns {
                [$(self[$i].reduce()),+]
            }
        }

        impl<C: Columns> Columns for [C; $count] {
            type Element = [C::Element; $count];
            type Mask = [C::Mask; $count];

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                [$(self[$i].plus(other[$i])),+]
            }

            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                [$(self[$i].minus(other[$i])),+]
            }

            #[inline(always)]
            fn negate_where(self, mask: Self::Mask) -> Self {
                [$(self[$i].negate_where(mask[$i])),+]
            }

            #[inline(always)]
            fn carry<const K: u64>(self) -> Self::Element {
                [$(self[$i].carry::<K>()),+]
            }

            #[inline(always)]
            fn carry_small(self) -> Self::Element {
                [$(self[$i].carry_small()),+]
            }
        }
    };
}

bundle!(1: 0);
bundle!(2: 0 1);
