(** The state of the abstract capability system of ΦOS. Fields marked "ghost" have no counterpart in
    ΦCore and no influence on any outcome; theorems speak about them. *)

From Coq Require Import Arith List NArith Bool.
Import ListNotations.

(** * Data *)

(** One use of a lineage: its number, and its version at the time. *)
Definition incarnation := (nat * nat)%type.

(** The lineage that a capability was made in; [None] for what nobody can revoke. *)
Definition origin := option incarnation.

(** A slot of a domain's table. *)
Definition place := (nat * nat)%type.

Inductive kind := Region | Mailbox | Signal | Reply | Object.

Record capability := Capability {
  kind_of : kind;
  rights : N;
  object : nat;
  origin_of : origin;
  (** The lineage of what was derived revocably from it. *)
  child : option nat;
  (** Whether it is a loan. *)
  loan : bool;
  (** Of a reply capability: the lineage of the call's loan. *)
  lent : option nat;
  (** Ghost: the grant that it descends from. *)
  root : nat;
  (** Ghost: every incarnation of a lineage that it, or what it was made from, was made in. *)
  history : list incarnation
}.

(** What a slot holds. *)
Inductive content :=
  | Free
  | Held (held : capability)
  (** What is left of a capability that was revoked, or whose object has ended ([dead]). *)
  | Left (dead : bool) (still_lent : option nat)
  (** Nothing, for ever: its generations are used up. *)
  | Retired.

Record entry := Entry { generation : nat; content_of : content }.

Record lineage := Lineage {
  version : nat;
  live : bool;
  parent : origin;
  payer : nat;
  (** Whether it is a loan's, not a capability's child. *)
  lends : bool
}.

(** What capabilities refer to. Of a reply, the owner is the caller. *)
Record thing := Thing { alive : bool; planned : bool; owner : nat; thing_kind : kind }.

(** The sizes of everything; they never change. *)
Record configuration := Configuration {
  domains : nat;
  slots : nat -> nat;
  lineage_quota : nat -> nat;
  (** Objects that a domain may have; of replies: calls that it may wait in. *)
  object_quota : nat -> kind -> nat;
  lineage_pool : nat;
  last_generation : nat
}.

Record state := State {
  sizes : configuration;
  table : place -> entry;
  free : nat -> list nat;
  used : nat -> nat;
  pool : nat -> lineage;
  charged : nat -> nat;
  things : nat -> thing;
  next_thing : nat;
  made : nat -> kind -> nat;
  running : nat -> bool;
  (** Ghost: the rights of each root grant, and the next one's number. *)
  grants : nat -> N;
  next_grant : nat;
  (** Ghost: the incarnations that have ended by revocation, and by dissolution. *)
  revoked : list incarnation;
  dissolved : list incarnation
}.

(** * Rights: the bits of shared/abi/src/rights.rs *)

Definition DERIVE := 1%N.
Definition TRANSFER := 2%N.
Definition READ := 4%N.
Definition WRITE := 8%N.
Definition SEND := 16%N.
Definition CALL := 32%N.
Definition RECEIVE := 64%N.
Definition NOTIFY := 128%N.
Definition WAIT := 256%N.
Definition OBJECT_ALL := 4294901760%N.

Fixpoint union (sets : list N) : N :=
  match sets with [] => 0%N | set :: others => N.lor set (union others) end.

Definition subset (small large : N) : bool := N.eqb (N.land small large) small.

(** What a loan may carry. *)
Definition LOAN := union [READ; WRITE; TRANSFER].

(** The rights that mean something on a kind. *)
Definition rights_of (k : kind) : N :=
  match k with
  | Region => union [DERIVE; TRANSFER; READ; WRITE]
  | Mailbox => union [DERIVE; TRANSFER; SEND; CALL; RECEIVE]
  | Signal => union [DERIVE; TRANSFER; NOTIFY; WAIT]
  | Reply => TRANSFER
  | Object => union [DERIVE; TRANSFER; SEND; CALL; OBJECT_ALL]
  end.

(** * Equality and update *)

Definition kind_eq (a b : kind) : bool :=
  match a, b with
  | Region, Region | Mailbox, Mailbox | Signal, Signal | Reply, Reply | Object, Object => true
  | _, _ => false
  end.

Definition place_eq (a b : place) : bool := (fst a =? fst b) && (snd a =? snd b).

Definition incarnation_eq (a b : incarnation) : bool := (fst a =? fst b) && (snd a =? snd b).

Definition origin_eq (a b : origin) : bool :=
  match a, b with
  | None, None => true
  | Some a, Some b => incarnation_eq a b
  | _, _ => false
  end.

Definition update {A} (f : nat -> A) (key : nat) (value : A) : nat -> A :=
  fun other => if other =? key then value else f other.

Definition set_table (s : state) (t : place -> entry) : state :=
  State (sizes s) t (free s) (used s) (pool s) (charged s) (things s) (next_thing s) (made s)
    (running s) (grants s) (next_grant s) (revoked s) (dissolved s).

Definition set_slots (s : state) (f : nat -> list nat) (u : nat -> nat) : state :=
  State (sizes s) (table s) f u (pool s) (charged s) (things s) (next_thing s) (made s)
    (running s) (grants s) (next_grant s) (revoked s) (dissolved s).

Definition set_pool (s : state) (p : nat -> lineage) (c : nat -> nat) : state :=
  State (sizes s) (table s) (free s) (used s) p c (things s) (next_thing s) (made s)
    (running s) (grants s) (next_grant s) (revoked s) (dissolved s).

Definition set_things (s : state) (t : nat -> thing) (n : nat) (m : nat -> kind -> nat) : state :=
  State (sizes s) (table s) (free s) (used s) (pool s) (charged s) t n m
    (running s) (grants s) (next_grant s) (revoked s) (dissolved s).

Definition set_running (s : state) (r : nat -> bool) : state :=
  State (sizes s) (table s) (free s) (used s) (pool s) (charged s) (things s) (next_thing s)
    (made s) r (grants s) (next_grant s) (revoked s) (dissolved s).

Definition set_grants (s : state) (g : nat -> N) (n : nat) : state :=
  State (sizes s) (table s) (free s) (used s) (pool s) (charged s) (things s) (next_thing s)
    (made s) (running s) g n (revoked s) (dissolved s).

Definition set_ended (s : state) (r d : list incarnation) : state :=
  State (sizes s) (table s) (free s) (used s) (pool s) (charged s) (things s) (next_thing s)
    (made s) (running s) (grants s) (next_grant s) r d.
