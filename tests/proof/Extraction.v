(** The model as an OCaml program. Natural numbers and bit sets become OCaml's integers, which are
    large enough for what the test feeds it. *)

From Coq Require Import NArith Extraction ExtrOcamlBasic ExtrOcamlNatInt ExtrOcamlZInt.
From Phi Require Import Model.

Extract Inlined Constant N.land => "(land)".
Extract Inlined Constant N.lor => "(lor)".
Extract Inlined Constant N.eqb => "(=)".

Extraction "model.ml" boot step is_valid depth.
