(** The abstract capability system of ΦOS: what each operation does to its state.

    The functions here are total and computable; [Extraction.v] makes a program of them. They follow
    shared/cap and shared/core: same checks, same order, same choice of slots. *)

From Coq Require Import Arith List NArith Bool.
From Phi Require Export State.
Import ListNotations.

(** * Lineages: shared/cap/src/lineage.rs *)

Definition LINEAGE_DEPTH := 8.

(** Whether nothing up the chain was revoked since; at most [fuel] steps of it. *)
Fixpoint valid_within (fuel : nat) (p : nat -> lineage) (o : origin) : bool :=
  match o with
  | None => match fuel with 0 => false | S _ => true end
  | Some (number, made_under) =>
      match fuel with
      | 0 => false
      | S less => (version (p number) =? made_under) && valid_within less p (parent (p number))
      end
  end.

Definition is_valid (s : state) (o : origin) : bool :=
  valid_within (S LINEAGE_DEPTH) (pool s) o.

Fixpoint depth_within (fuel : nat) (p : nat -> lineage) (o : origin) : nat :=
  match fuel, o with
  | S less, Some (number, _) => S (depth_within less p (parent (p number)))
  | _, _ => 0
  end.

Definition depth (s : state) (o : origin) : nat := depth_within LINEAGE_DEPTH (pool s) o.

(** Why an operation did not do what it was asked. *)
Inductive error := Revoked | Dead | Denied | QuotaExceeded | TooDeep.

(** Makes a lineage below [o] at the cost of [d]. *)
Definition make_lineage (s : state) (o : origin) (d : nat) (for_loan : bool)
  : (state * nat) + error :=
  if LINEAGE_DEPTH <=? depth s o then inr TooDeep
  else if lineage_quota (sizes s) d <=? charged s d then inr QuotaExceeded
  else
    match find (fun number => negb (live (pool s number))) (seq 0 (lineage_pool (sizes s))) with
    | None => inr QuotaExceeded
    | Some number =>
        let fresh := Lineage (version (pool s number)) true o d for_loan in
        inl (set_pool s (update (pool s) number fresh)
               (update (charged s) d (S (charged s d))), number)
    end.

(** Where a capability made in a lineage now comes from. *)
Definition now_in (s : state) (number : nat) : incarnation := (number, version (pool s number)).

(** The next version of a lineage that is not in use any more: one addition. *)
Definition close (s : state) (number : nat) : state :=
  let old := pool s number in
  if live old then
    let ended := Lineage (S (version old)) false (parent old) (payer old) (lends old) in
    set_pool s (update (pool s) number ended)
      (update (charged s) (payer old) (pred (charged s (payer old))))
  else s.

(** Revokes a lineage and gives it back. *)
Definition end_lineage (s : state) (number : nat) : state :=
  if live (pool s number) then
    set_ended (close s number) (now_in s number :: revoked s) (dissolved s)
  else s.

Definition replace_origin (from to o : origin) : origin := if origin_eq o from then to else o.

Definition reparent (from to : origin) (l : lineage) : lineage :=
  Lineage (version l) (live l) (replace_origin from to (parent l)) (payer l) (lends l).

Definition with_origin (c : capability) (o : origin) : capability :=
  Capability (kind_of c) (rights c) (object c) o (child c) (loan c) (lent c) (root c) (history c).

Definition adopt (from to : origin) (e : entry) : entry :=
  match content_of e with
  | Held c => Entry (generation e) (Held (with_origin c (replace_origin from to (origin_of c))))
  | _ => e
  end.

(** Gives a lineage back without revoking: what came from it now comes from its parent. *)
Definition dissolve (s : state) (number : nat) : state :=
  if live (pool s number) then
    let from := Some (now_in s number) in
    let to := parent (pool s number) in
    let moved := set_pool s (fun other => reparent from to (pool s other)) (charged s) in
    let adopted := set_table moved (fun p => adopt from to (table s p)) in
    set_ended (close adopted number) (revoked s) (now_in s number :: dissolved s)
  else s.

(** * Slots: shared/cap/src/table.rs *)

Definition set_entry (s : state) (p : place) (e : entry) : state :=
  set_table s (fun other => if place_eq other p then e else table s other).

Definition set_content (s : state) (p : place) (c : content) : state :=
  set_entry s p (Entry (generation (table s p)) c).

Definition is_free (c : content) : bool := match c with Free => true | _ => false end.

Definition is_occupied (c : content) : bool :=
  match c with Held _ | Left _ _ => true | _ => false end.

(** Puts a capability into the first free slot of a domain. *)
Definition put (s : state) (d : nat) (c : capability) : option (state * place) :=
  match free s d with
  | [] => None
  | slot :: others =>
      let p := (d, slot) in
      if (slot <? slots (sizes s) d) && is_free (content_of (table s p)) then
        let taken := set_slots s (update (free s) d others) (update (used s) d (S (used s d))) in
        Some (set_content taken p (Held c), p)
      else None
  end.

(** Empties an occupied slot: its handle names nothing from now on. *)
Definition remove (s : state) (p : place) : state :=
  if is_occupied (content_of (table s p)) then
    let (d, slot) := p in
    let last := last_generation (sizes s) <=? generation (table s p) in
    let others := if last then free s d else slot :: free s d in
    let emptied := set_slots s (update (free s) d others) (update (used s) d (pred (used s d))) in
    set_entry emptied p
      (if last then Entry (generation (table s p)) Retired
       else Entry (S (generation (table s p))) Free)
  else s.

(** What a domain's handle names: slot and generation. *)
Definition find_handle (s : state) (d slot number : nat) : option content :=
  let e := table s (d, slot) in
  if (slot <? slots (sizes s) d) && (generation e =? number) && is_occupied (content_of e)
  then Some (content_of e) else None.

(** All slots of a domain, and of all domains. *)
Definition places_of (s : state) (d : nat) : list place :=
  map (fun slot => (d, slot)) (seq 0 (slots (sizes s) d)).

Definition places (s : state) : list place :=
  flat_map (places_of s) (seq 0 (domains (sizes s))).

(** * The end of capabilities and objects: shared/core/src/{revoke,lifetime}.rs *)

(** Ends the child lineage of what was a capability: by revocation, or by dissolution. *)
Definition end_child (s : state) (number : option nat) (by_revocation : bool) : state :=
  match number with
  | None => s
  | Some number => if by_revocation then end_lineage s number else dissolve s number
  end.

(** Ends a capability, and leaves a sign of it for its holder to find. *)
Definition bury (s : state) (p : place) (dead : bool) : state :=
  match content_of (table s p) with
  | Held c => end_child (set_content s p (Left dead (lent c))) (child c) (negb dead)
  | _ => s
  end.

(** Buries what is no longer valid. *)
Definition sweep (s : state) : state :=
  fold_left
    (fun s p =>
       match content_of (table s p) with
       | Held c => if is_valid s (origin_of c) then s else bury s p false
       | _ => s
       end)
    (places s) s.

(** Ends the loan of a call. *)
Definition end_loan (s : state) (number : option nat) : state :=
  match number with
  | None => s
  | Some number => if lends (pool s number) then sweep (end_lineage s number) else s
  end.

(** Drops what is in a slot. *)
Definition release (s : state) (p : place) : state :=
  match content_of (table s p) with
  | Held c => end_loan (end_child (remove s p) (child c) false) (lent c)
  | Left _ still_lent => end_loan (remove s p) still_lent
  | _ => s
  end.

Definition refers_to (number : nat) (c : content) : bool :=
  match c with Held c => object c =? number | _ => false end.

(** Takes an object away that nobody can name any more. *)
Definition end_thing (s : state) (number : nat) : state :=
  let old := things s number in
  if alive old && negb (planned old)
     && negb (existsb (fun p => refers_to number (content_of (table s p))) (places s)) then
    let left := pred (made s (owner old) (thing_kind old)) in
    set_things s
      (update (things s) number (Thing false (planned old) (owner old) (thing_kind old)))
      (next_thing s)
      (fun d k => if (d =? owner old) && kind_eq k (thing_kind old) then left else made s d k)
  else s.

(** Ends all objects that have lost their last capability. *)
Definition reap (s : state) : state := fold_left end_thing (seq 0 (next_thing s)) s.

(** Buries the capabilities to objects of a domain that ends; loans last until the answer. *)
Definition bury_owned (s : state) (d : nat) (of_replies : bool) : state :=
  fold_left
    (fun s p =>
       match content_of (table s p) with
       | Held c =>
           let t := things s (object c) in
           if (owner t =? d) && negb (planned t) && negb (loan c)
              && Bool.eqb (kind_eq (thing_kind t) Reply) of_replies
           then bury s p true else s
       | _ => s
       end)
    (places s) s.

(** Ends a domain: its calls, what it holds, and what it made. *)
Definition end_domain (s : state) (d : nat) : state :=
  let called := bury_owned s d true in
  let dropped := fold_left release (places_of called d) called in
  set_running (bury_owned dropped d false) (update (running s) d false).

(** * Operations: shared/core/src/{capability,grant,mailbox,reply}.rs *)

(** How an operation ended: with handles as slot and generation, well, with an error, or with a
    fault of a caller that named nothing or asked for the impossible. *)
Inductive outcome :=
  | Handles (named : list (nat * nat))
  | Done
  | Failed (why : error)
  | Fault.

Definition handle := (nat * nat)%type.

(** A capability to give away: its handle, the rights to give, and whether it is copied or moved. *)
Record gift := Gift { given : handle; given_rights : N; copied : bool }.

Inductive operation :=
  | Create (d : nat) (k : kind)
  | Derive (d : nat) (h : handle) (r : N) (revocable : bool)
  | Revoke (d : nat) (h : handle)
  | Drop (d : nat) (h : handle)
  | Mint (d : nat) (h : handle) (r : N)
  (** [d] sends a capability through its mailbox [h] to [e], which receives through its [h']. *)
  | Transfer (d : nat) (h : handle) (g : gift) (e : nat) (h' : handle)
  (** [d] calls through [h], perhaps lending a region; [e] receives through [h']. *)
  | Call (d : nat) (h : handle) (lends_out : option (handle * N)) (e : nat) (h' : handle)
  (** [d] answers the call of reply capability [h], perhaps giving a capability. *)
  | Answer (d : nat) (h : handle) (g : option gift)
  | End (d : nat).

(** The capability that a handle names, for a use that needs rights. *)
Definition usable (s : state) (d : nat) (h : handle) (needed : N) : capability + outcome :=
  match find_handle s d (fst h) (snd h) with
  | Some (Held c) =>
      if is_valid s (origin_of c) then
        if subset needed (rights c) then inl c else inr (Failed Denied)
      else inr (Failed Revoked)
  | Some (Left dead _) => inr (Failed (if dead then Dead else Revoked))
  | _ => inr Fault
  end.

Definition place_of (d : nat) (h : handle) : place := (d, fst h).

Definition named (s : state) (p : place) : nat * nat := (snd p, generation (table s p)).

Definition has_room (s : state) (d : nat) (count : nat) : bool :=
  count <=? length (free s d).

(** Adds a capability to a domain's table, or fails and leaves [before]. *)
Definition finish (before s : state) (d : nat) (c : capability) : state * outcome :=
  match put s d c with
  | Some (after, p) => (after, Handles [named after p])
  | None => (before, Failed QuotaExceeded)
  end.

(** Notes a root grant: ghost. *)
Definition new_grant (s : state) (r : N) : state :=
  set_grants s (update (grants s) (next_grant s) r) (S (next_grant s)).

(** A new object of a domain, if its quota allows. *)
Definition new_thing (s : state) (d : nat) (k : kind) (is_planned : bool) : option state :=
  if negb is_planned && (object_quota (sizes s) d k <=? made s d k) then None
  else
    let count := if is_planned then made s d k else S (made s d k) in
    Some (set_things s (update (things s) (next_thing s) (Thing true is_planned d k))
            (S (next_thing s))
            (fun other k' => if (other =? d) && kind_eq k' k then count else made s other k')).

(** A capability that descends from nothing but the latest root grant. *)
Definition root_capability (s : state) (k : kind) (r : N) (number : nat) (l : option nat)
  : capability :=
  Capability k r number None None false l (pred (next_grant s)) [].

Definition create (s : state) (d : nat) (k : kind) : state * outcome :=
  match k with
  | Region | Mailbox | Signal =>
      match new_thing s d k false with
      | None => (s, Failed QuotaExceeded)
      | Some made =>
          let granted := new_grant made (rights_of k) in
          finish s granted d (root_capability granted k (rights_of k) (next_thing s) None)
      end
  | Reply | Object => (s, Fault)
  end.

Definition derived (c : capability) (r : N) (o : origin) (h : list incarnation) : capability :=
  Capability (kind_of c) r (object c) o None (loan c) None (root c) h.

Definition with_child (c : capability) (number : option nat) : capability :=
  Capability (kind_of c) (rights c) (object c) (origin_of c) number (loan c) (lent c) (root c)
    (history c).

(** The child lineage of the capability [c] in [p], made on first use at the cost of [d]. *)
Definition child_of (s : state) (d : nat) (p : place) (c : capability) : (state * nat) + error :=
  match child c with
  | Some number => inl (s, number)
  | None =>
      match make_lineage s (origin_of c) d false with
      | inr why => inr why
      | inl (after, number) =>
          inl (set_content after p (Held (with_child c (Some number))), number)
      end
  end.

Definition derive (s : state) (d : nat) (h : handle) (r : N) (revocable : bool)
  : state * outcome :=
  match usable s d h (N.lor DERIVE r) with
  | inr failure => (s, failure)
  | inl c =>
      if negb (has_room s d 1) then (s, Failed QuotaExceeded)
      else if revocable then
        match child_of s d (place_of d h) c with
        | inr why => (s, Failed why)
        | inl (after, number) =>
            let inside := now_in after number in
            finish s after d (derived c r (Some inside) (inside :: history c))
        end
      else finish s s d (derived c r (origin_of c) (history c))
  end.

Definition revoke (s : state) (d : nat) (h : handle) : state * outcome :=
  match usable s d h DERIVE with
  | inr failure => (s, failure)
  | inl c =>
      match child c with
      | None => (s, Done)
      | Some number =>
          let orphaned := set_content s (place_of d h) (Held (with_child c None)) in
          (sweep (end_lineage orphaned number), Done)
      end
  end.

Definition drop (s : state) (d : nat) (h : handle) : state * outcome :=
  match find_handle s d (fst h) (snd h) with
  | None => (s, Fault)
  | Some _ => (release s (place_of d h), Done)
  end.

Definition mint (s : state) (d : nat) (h : handle) (r : N) : state * outcome :=
  match usable s d h RECEIVE with
  | inr failure => (s, failure)
  | inl c =>
      if negb (kind_eq (kind_of c) Mailbox && subset r (rights_of Object)) then (s, Fault)
      else
        let granted := new_grant s r in
        finish s granted d
          (Capability Object r (object c) (origin_of c) None false None (pred (next_grant granted))
             (history c))
  end.

(** Whether [d] can give away what [g] names. *)
Definition givable (s : state) (d : nat) (g : gift) : capability + outcome :=
  let needed := if copied g then N.lor TRANSFER DERIVE else TRANSFER in
  match usable s d (given g) (N.lor needed (given_rights g)) with
  | inr failure => inr failure
  | inl c => if loan c then inr (Failed Denied) else inl c
  end.

Definition with_rights (c : capability) (r : N) : capability :=
  Capability (kind_of c) r (object c) (origin_of c) (child c) (loan c) (lent c) (root c)
    (history c).

(** Gives the capability [c], which [g] names in [d], to [e]. *)
Definition give (s : state) (d : nat) (g : gift) (c : capability) (e : nat)
  : option (state * place) :=
  if copied g then
    put s e (derived c (given_rights g) (origin_of c) (history c))
  else put (remove s (place_of d (given g))) e (with_rights c (given_rights g)).

(** Whether two capabilities are the two ends of one way for messages. *)
Definition is_way (c c' : capability) : bool :=
  (kind_eq (kind_of c) Mailbox || kind_eq (kind_of c) Object) && kind_eq (kind_of c') Mailbox
  && (object c =? object c').

Definition transfer (s : state) (d : nat) (h : handle) (g : gift) (e : nat) (h' : handle)
  : state * outcome :=
  match usable s d h SEND, usable s e h' RECEIVE, givable s d g with
  | inl way, inl end_of_way, inl c =>
      if negb (is_way way end_of_way) then (s, Fault)
      else if negb (has_room s e 1) then (s, Failed QuotaExceeded)
      else
        match give s d g c e with
        | Some (after, p) => (after, Handles [named after p])
        | None => (s, Failed QuotaExceeded)
        end
  | inr failure, _, _ => (s, failure)
  | _, inr failure, _ => (s, failure)
  | _, _, inr failure => (s, failure)
  end.

(** The capability that [e] gets of what [d] lends. *)
Definition borrowed (c : capability) (r : N) (inside : incarnation) : capability :=
  Capability (kind_of c) (N.land r LOAN) (object c) (Some inside) None true None (root c)
    (inside :: history c).

(** Puts the loan, if any, and then the reply capability into the table of [e]. *)
Definition deliver (before s : state) (d e : nat) (lends_out : option (capability * N))
  : state * outcome :=
  let reply after number l :=
    let granted := new_grant after TRANSFER in
    put granted e (root_capability granted Reply TRANSFER number l) in
  match new_thing s d Reply false with
  | None => (before, Failed QuotaExceeded)
  | Some called =>
      match lends_out with
      | None =>
          match reply called (next_thing s) None with
          | Some (after, p) => (after, Handles [named after p])
          | None => (before, Failed QuotaExceeded)
          end
      | Some (c, r) =>
          match make_lineage called (origin_of c) d true with
          | inr why => (before, Failed why)
          | inl (opened, number) =>
              match put opened e (borrowed c r (now_in opened number)) with
              | None => (before, Failed QuotaExceeded)
              | Some (with_loan, p) =>
                  match reply with_loan (next_thing s) (Some number) with
                  | Some (after, p') => (after, Handles [named after p; named after p'])
                  | None => (before, Failed QuotaExceeded)
                  end
              end
          end
      end
  end.

(** Whether [d] can lend what this names. *)
Definition lendable (s : state) (d : nat) (lends_out : option (handle * N))
  : option (capability * N) + outcome :=
  match lends_out with
  | None => inl None
  | Some (h, r) =>
      match usable s d h (N.lor TRANSFER (N.land r LOAN)) with
      | inr failure => inr failure
      | inl c => if kind_eq (kind_of c) Region then inl (Some (c, r)) else inr Fault
      end
  end.

Definition call (s : state) (d : nat) (h : handle) (lends_out : option (handle * N)) (e : nat)
  (h' : handle) : state * outcome :=
  match usable s d h CALL, usable s e h' RECEIVE, lendable s d lends_out with
  | inl way, inl end_of_way, inl lends_out =>
      if negb (is_way way end_of_way) then (s, Fault) else deliver s s d e lends_out
  | inr failure, _, _ => (s, failure)
  | _, inr failure, _ => (s, failure)
  | _, _, inr failure => (s, failure)
  end.

(** The first half of an answer: the capability given, if any, arrives where there is room. *)
Definition answer_with (s : state) (d : nat) (g : option gift) (caller : nat)
  : (state * list (nat * nat)) + outcome :=
  match g with
  | None => inl (s, [])
  | Some g =>
      match givable s d g with
      | inr failure => inr failure
      | inl c =>
          if negb (has_room s caller 1) then inl (s, [])
          else
            match give s d g c caller with
            | Some (after, p) => inl (after, [named after p])
            | None => inr (Failed QuotaExceeded)
            end
      end
  end.

Definition answer (s : state) (d : nat) (h : handle) (g : option gift) : state * outcome :=
  let consumed :=
    match g with Some g => place_eq (place_of d (given g)) (place_of d h) | None => false end in
  if consumed then (s, Fault)
  else
    match find_handle s d (fst h) (snd h) with
    | Some (Held c) =>
        if negb (kind_eq (kind_of c) Reply && kind_eq (thing_kind (things s (object c))) Reply)
        then (s, Fault)
        else
          match answer_with s d g (owner (things s (object c))) with
          | inr failure => (s, failure)
          | inl (after, handles) =>
              if is_valid s (origin_of c) then (release after (place_of d h), Handles handles)
              else (release s (place_of d h), Failed Dead)
          end
    | Some (Left _ _) =>
        match g with
        | None => (release s (place_of d h), Failed Dead)
        | Some gift =>
            match givable s d gift with
            | inr failure => (s, failure)
            | inl _ => (release s (place_of d h), Failed Dead)
            end
        end
    | _ => (s, Fault)
    end.

Definition perform (s : state) (o : operation) : state * outcome :=
  match o with
  | Create d k => create s d k
  | Derive d h r revocable => derive s d h r revocable
  | Revoke d h => revoke s d h
  | Drop d h => drop s d h
  | Mint d h r => mint s d h r
  | Transfer d h g e h' => transfer s d h g e h'
  | Call d h lends_out e h' => call s d h lends_out e h'
  | Answer d h g => answer s d h g
  | End d => (end_domain s d, Done)
  end.

(** The domain that makes an operation. *)
Definition actor (o : operation) : nat :=
  match o with
  | Create d _ | Derive d _ _ _ | Revoke d _ | Drop d _ | Mint d _ _ | Transfer d _ _ _ _
  | Call d _ _ _ _ | Answer d _ _ | End d => d
  end.

(** One step: the operation of a domain that runs, and the end of objects that it left without
    capabilities. *)
Definition step (s : state) (o : operation) : state * outcome :=
  if running s (actor o) then let (after, result) := perform s o in (reap after, result)
  else (s, Fault).

Definition run (s : state) (operations : list operation) : state :=
  fold_left (fun s o => fst (step s o)) operations s.

(** * Boot *)

(** What the plan says: an object of a domain, and a capability of a domain. *)
Inductive planning := PlanObject (d : nat) (k : kind) | PlanGrant (d number : nat) (r : N).

Definition empty (c : configuration) : state :=
  State c (fun _ => Entry 1 Free) (fun d => seq 0 (slots c d)) (fun _ => 0)
    (fun _ => Lineage 1 false None 0 false) (fun _ => 0)
    (fun _ => Thing false true 0 Signal) 0 (fun _ _ => 0) (fun d => d <? domains c)
    (fun _ => 0%N) 0 [] [].

Definition plan (s : state) (p : planning) : state :=
  match p with
  | PlanObject d k => match new_thing s d k true with Some after => after | None => s end
  | PlanGrant d number r =>
      if number <? next_thing s then
        let granted := new_grant s (N.land r (rights_of (thing_kind (things s number)))) in
        fst (finish s granted d
               (root_capability granted (thing_kind (things s number))
                  (N.land r (rights_of (thing_kind (things s number)))) number None))
      else s
  end.

Definition boot (c : configuration) (planned : list planning) : state :=
  fold_left plan planned (empty c).
