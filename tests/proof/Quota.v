(** Quotas are conserved: every counter equals what is in use, and none exceeds its quota. *)

From Coq Require Import Arith List NArith Bool Lia.
From Phi Require Import Model Tables Provenance Amplification Lineages.
Import ListNotations.

(** How many of [0 .. n - 1] have a property. *)
Fixpoint count (f : nat -> bool) (n : nat) : nat :=
  match n with 0 => 0 | S m => (if f m then 1 else 0) + count f m end.

Lemma count_same : forall f g n, (forall i, i < n -> f i = g i) -> count f n = count g n.
Proof. induction n; simpl; intros H; auto. rewrite H by lia. rewrite IHn; auto. Qed.

Lemma count_one_more : forall f g n i, i < n -> f i = false -> g i = true ->
  (forall j, j <> i -> g j = f j) -> count g n = S (count f n).
Proof.
  induction n; intros i L F G H; [lia|]. simpl. destruct (Nat.eq_dec i n) as [->|N].
  - rewrite F, G. simpl. f_equal. apply count_same. intros j J. apply H. lia.
  - rewrite (H n) by lia. rewrite (IHn i) by (auto; lia). destruct (f n); lia.
Qed.

Lemma count_bound : forall f n, count f n <= n.
Proof. induction n; simpl; auto. destruct (f n); lia. Qed.

(** ** The three counters *)

Definition is_charged (p : nat -> lineage) (d n : nat) : bool := live (p n) && (payer (p n) =? d).

Definition lineages_counted (c : configuration) (p : nat -> lineage) (charges : nat -> nat)
  : Prop :=
  (forall n, live (p n) = true -> n < lineage_pool c) /\
  forall d, charges d = count (is_charged p d) (lineage_pool c) /\ charges d <= lineage_quota c d.

Definition is_used (t : place -> entry) (d i : nat) : bool := is_occupied (content_of (t (d, i))).

Definition slots_counted (c : configuration) (t : place -> entry) (uses : nat -> nat) : Prop :=
  (forall d i, is_used t d i = true -> i < slots c d) /\
  forall d, uses d = count (is_used t d) (slots c d).

Definition is_made (t : nat -> thing) (d : nat) (k : kind) (n : nat) : bool :=
  alive (t n) && negb (planned (t n)) && (owner (t n) =? d) && kind_eq (thing_kind (t n)) k.

Definition things_counted (c : configuration) (t : nat -> thing) (next : nat)
  (makes : nat -> kind -> nat) : Prop :=
  (forall n, alive (t n) = true -> n < next) /\
  forall d k, makes d k = count (is_made t d k) next /\ makes d k <= object_quota c d k.

Definition counted (s : state) : Prop :=
  lineages_counted (sizes s) (pool s) (charged s) /\ slots_counted (sizes s) (table s) (used s) /\
  things_counted (sizes s) (things s) (next_thing s) (made s).

(** ** Slots *)

Lemma slots_alike : forall c t t' u, slots_counted c t u ->
  (forall d i, is_used t' d i = is_used t d i) -> slots_counted c t' u.
Proof.
  intros c t t' u [A B] E. split.
  - intros d i X. rewrite E in X. eauto.
  - intros d. rewrite B. apply count_same. auto.
Qed.

Lemma counted_replace : forall s p x, counted s ->
  is_occupied (content_of (table s p)) = is_occupied x -> counted (set_content s p x).
Proof.
  intros s p x (L & S & T) E. split; [exact L|]. split; [|exact T].
  eapply slots_alike; [exact S|]. intros d i. unfold is_used. rewrite table_set_content.
  destruct (place_eq_spec (d, i) p); subst; auto.
Qed.

Lemma counted_put : forall s d c s' p, counted s -> put s d c = Some (s', p) -> counted s'.
Proof.
  intros s d c s' [d' i] (L & [S1 S2] & T) P. apply put_spec in P.
  destruct P as (E & B & F & H & Z & P & C & Q & N & M & _ & _ & _ & _ & _ & U).
  simpl in E, B. subst d'. unfold counted. rewrite Z, P, C, Q, N, M, U.
  split; [exact L|]. split; [|exact T].
  assert (Y : forall e j, is_used (table s') e j =
    if place_eq (e, j) (d, i) then true else is_used (table s) e j).
  { intros e j. unfold is_used. rewrite H. destruct (place_eq (e, j) (d, i)); auto. }
  split.
  - intros e j. rewrite Y. destruct (place_eq_spec (e, j) (d, i)) as [X|X]; auto.
    inversion X; subst; auto.
  - intros e. unfold update. destruct (Nat.eqb_spec e d) as [->|X].
    + rewrite S2. symmetry. apply count_one_more with (i := i); auto.
      * unfold is_used. rewrite F. reflexivity.
      * rewrite Y, place_eq_refl. reflexivity.
      * intros j J. rewrite Y. destruct (place_eq_spec (d, j) (d, i)); congruence.
    + rewrite S2. apply count_same. intros j _. rewrite Y.
      destruct (place_eq_spec (e, j) (d, i)); congruence.
Qed.

Lemma counted_remove : forall s p, counted s -> counted (remove s p).
Proof.
  intros s [d i] (L & [S1 S2] & T). unfold remove.
  destruct (is_occupied (content_of (table s (d, i)))) eqn:O;
  [|repeat split; apply L || apply T || auto].
  split; [exact L|]. split; [|exact T]. simpl.
  set (x := if last_generation (sizes s) <=? generation (table s (d, i))
            then Entry (generation (table s (d, i))) Retired
            else Entry (S (generation (table s (d, i)))) Free).
  assert (X : is_occupied (content_of x) = false) by (unfold x; split_if; reflexivity).
  assert (Y : forall e j, is_used (fun p => if place_eq p (d, i) then x else table s p) e j =
    if place_eq (e, j) (d, i) then false else is_used (table s) e j).
  { intros e j. unfold is_used. destruct (place_eq (e, j) (d, i)); auto. }
  split.
  - intros e j. rewrite Y. destruct (place_eq (e, j) (d, i)); auto. congruence.
  - intros e. unfold update. destruct (Nat.eqb_spec e d) as [->|N].
    + rewrite S2. erewrite (count_one_more _ (is_used (table s) d)) with (i := i).
      * simpl. reflexivity.
      * apply S1. exact O.
      * rewrite Y, place_eq_refl. reflexivity.
      * exact O.
      * intros j J. rewrite Y. destruct (place_eq_spec (d, j) (d, i)); congruence.
    + rewrite S2. apply count_same. intros j _. rewrite Y.
      destruct (place_eq_spec (e, j) (d, i)); congruence.
Qed.

(** ** Lineages *)

Lemma lineages_alike : forall c p p' u, lineages_counted c p u ->
  (forall n, live (p' n) = live (p n) /\ payer (p' n) = payer (p n)) -> lineages_counted c p' u.
Proof.
  intros c p p' u [A B] E. split.
  - intros n X. destruct (E n). apply A. congruence.
  - intros d. destruct (B d) as [C D]. split; auto. rewrite C. apply count_same. intros n _.
    unfold is_charged. destruct (E n) as [-> ->]. reflexivity.
Qed.

Lemma counted_close : forall s n, counted s -> counted (close s n).
Proof.
  intros s n C. unfold close. destruct (live (pool s n)) eqn:V; auto.
  destruct C as ([L1 L2] & S & T). split; [|split; [exact S | exact T]]. simpl.
  set (p' := update _ _ _). assert (Y : forall d m, is_charged p' d m =
    if m =? n then false else is_charged (pool s) d m).
  { intros d m. unfold is_charged, p', update. destruct (m =? n); auto. }
  split.
  - intros m. unfold p', update. destruct (Nat.eqb_spec m n); simpl; auto. congruence.
  - intros d. unfold update. destruct (L2 d) as [C Q].
    destruct (Nat.eqb_spec d (payer (pool s n))) as [->|N].
    + split; [|lia]. rewrite C.
      rewrite (count_one_more (is_charged p' (payer (pool s n)))
        (is_charged (pool s) (payer (pool s n))) _ n); auto.
      * rewrite Y, Nat.eqb_refl. reflexivity.
      * unfold is_charged. rewrite V, Nat.eqb_refl. reflexivity.
      * intros j J. rewrite Y. destruct (Nat.eqb_spec j n); congruence.
    + split; auto. rewrite C. apply count_same. intros m _. rewrite Y.
      destruct (Nat.eqb_spec m n) as [->|]; auto. unfold is_charged.
      destruct (Nat.eqb_spec (payer (pool s n)) d); [congruence|]. apply andb_false_r.
Qed.

Lemma counted_end_lineage : forall s n, counted s -> counted (end_lineage s n).
Proof.
  intros s n C. unfold end_lineage. destruct (live (pool s n)); auto.
  apply (counted_close s n C).
Qed.

Lemma counted_dissolve : forall s n, counted s -> counted (dissolve s n).
Proof.
  intros s n C. unfold dissolve. destruct (live (pool s n)) eqn:V; auto.
  set (adopted := set_table _ _).
  enough (counted adopted) by (apply (counted_close adopted n); auto).
  destruct C as (L & S & T). split; [|split; [|exact T]].
  - eapply lineages_alike; [exact L|]. intros m. split; reflexivity.
  - eapply slots_alike; [exact S|]. intros d i. unfold is_used, adopted, adopt. simpl.
    destruct (content_of (table s (d, i))) eqn:E; simpl; rewrite ?E; reflexivity.
Qed.

Lemma counted_make : forall s o d b s' n, counted s -> make_lineage s o d b = inl (s', n) ->
  counted s'.
Proof.
  intros s o d b s' n C M.
  assert (A : used s' = used s /\ things s' = things s /\ next_thing s' = next_thing s /\
    made s' = made s).
  { unfold make_lineage in M. repeat match type of M with
    | context [if ?c then _ else _] => destruct c; try congruence
    | context [match ?c with Some _ => _ | None => _ end] => destruct c; try congruence end.
    inversion M; subst. repeat split; reflexivity. }
  destruct A as (A1 & A2 & A3 & A4). apply make_lineage_spec in M.
  destruct M as (V & P & _ & _ & T & B & Q & H & Z).
  destruct C as ([L1 L2] & S & X). unfold counted. rewrite P, T, H, Z, A1, A2, A3, A4.
  split; [|split; [exact S | exact X]].
  set (p' := update (pool s) n _). assert (Y : forall e m, is_charged p' e m =
    if m =? n then d =? e else is_charged (pool s) e m).
  { intros e m. unfold is_charged, p', update. destruct (m =? n); auto. }
  split.
  - intros m. unfold p', update. destruct (Nat.eqb_spec m n); subst; auto.
  - intros e. unfold update. destruct (L2 e) as [C D]. destruct (Nat.eqb_spec e d) as [->|N].
    + split; [|lia]. rewrite C. symmetry. apply count_one_more with (i := n); auto.
      * unfold is_charged. rewrite V. reflexivity.
      * rewrite Y, !Nat.eqb_refl. reflexivity.
      * intros j J. rewrite Y. destruct (Nat.eqb_spec j n); congruence.
    + split; auto. rewrite C. apply count_same. intros m _. rewrite Y.
      destruct (Nat.eqb_spec m n) as [->|]; auto. unfold is_charged. rewrite V.
      destruct (Nat.eqb_spec d e); [congruence | reflexivity].
Qed.

(** ** Objects *)

Lemma counted_new_thing : forall s d k b s', counted s -> new_thing s d k b = Some s' ->
  counted s'.
Proof.
  intros s d k b s' (L & S & [T1 T2]) H. unfold new_thing in H.
  destruct (negb b && (object_quota (sizes s) d k <=? made s d k)) eqn:Q; try congruence.
  inversion H; subst; clear H. split; [exact L|]. split; [exact S|]. simpl.
  set (t' := update _ _ _).
  assert (Y : forall e k' n, n < next_thing s -> is_made t' e k' n = is_made (things s) e k' n).
  { intros e k' n N. unfold is_made, t', update.
    destruct (Nat.eqb_spec n (next_thing s)); auto. lia. }
  split.
  - intros n. unfold t', update. destruct (Nat.eqb_spec n (next_thing s)); [lia|].
    intros A. apply T1 in A. lia.
  - intros e k'. destruct (T2 e k') as [C D]. simpl.
    rewrite (count_same _ _ _ (Y e k')). rewrite <- C.
    assert (W : is_made t' e k' (next_thing s) = negb b && (d =? e) && kind_eq k k').
    { unfold is_made, t', update. rewrite Nat.eqb_refl. reflexivity. }
    rewrite W. destruct b; simpl.
    + split; destruct ((e =? d) && kind_eq k' k) eqn:E; auto;
      apply andb_prop in E; destruct E as [E1 E2]; apply Nat.eqb_eq in E1; subst;
      destruct (kind_eq_spec k' k); subst; auto; congruence.
    + simpl in Q. apply Nat.leb_gt in Q.
      destruct (Nat.eqb_spec e d) as [->|N], (kind_eq_spec k' k) as [->|N']; simpl;
      rewrite ?Nat.eqb_refl; simpl.
      * destruct (kind_eq_spec k k); [|congruence]. split; lia.
      * destruct (kind_eq_spec k k'); [congruence|]. auto.
      * destruct (Nat.eqb_spec d e); [congruence|]. auto.
      * destruct (Nat.eqb_spec d e); [congruence|]. auto.
Qed.

Lemma counted_end_thing : forall s n, counted s -> counted (end_thing s n).
Proof.
  intros s n C. unfold end_thing.
  destruct (alive (things s n)) eqn:A; simpl; auto.
  destruct (planned (things s n)) eqn:P; simpl; auto. split_if; auto.
  destruct C as (L & S & [T1 T2]). split; [exact L|]. split; [exact S|]. simpl.
  set (d := owner (things s n)). set (k := thing_kind (things s n)).
  set (t' := update _ _ _).
  assert (Y : forall e k' m, is_made t' e k' m =
    if m =? n then false else is_made (things s) e k' m).
  { intros e k' m. unfold is_made, t', update. destruct (m =? n); auto. }
  assert (K : forall x, kind_eq x x = true) by (intros []; reflexivity).
  split.
  - intros m. unfold t', update. destruct (Nat.eqb_spec m n); simpl; auto. congruence.
  - intros e k'. destruct (T2 e k') as [C D].
    destruct (Nat.eqb_spec e d) as [->|N]; [destruct (kind_eq_spec k' k) as [->|N']|]; simpl.
    + split; [|destruct (T2 d k); lia]. rewrite C.
      rewrite (count_one_more (is_made t' d k) (is_made (things s) d k) _ n); auto.
      * rewrite Y, Nat.eqb_refl. reflexivity.
      * unfold is_made. rewrite A, P. unfold d, k. rewrite Nat.eqb_refl, K. reflexivity.
      * intros j J. rewrite Y. destruct (Nat.eqb_spec j n); congruence.
    + split; auto. rewrite C. apply count_same. intros m _. rewrite Y.
      destruct (Nat.eqb_spec m n) as [->|]; auto. unfold is_made. fold d k.
      destruct (kind_eq_spec k k'); [congruence|]. apply andb_false_r.
    + split; auto. rewrite C. apply count_same. intros m _. rewrite Y.
      destruct (Nat.eqb_spec m n) as [->|]; auto. unfold is_made. fold d.
      destruct (Nat.eqb_spec d e); [congruence|]. rewrite andb_false_r. reflexivity.
Qed.

(** ** Operation by operation *)

Lemma counted_end_child : forall s n b, counted s -> counted (end_child s n b).
Proof. intros s [n|] []; simpl; auto using counted_end_lineage, counted_dissolve. Qed.

Lemma counted_bury : forall s p b, counted s -> counted (bury s p b).
Proof.
  intros s p b C. unfold bury. destruct (content_of (table s p)) eqn:E; auto.
  apply counted_end_child. apply counted_replace; auto. rewrite E. reflexivity.
Qed.

Lemma counted_sweep : forall s, counted s -> counted (sweep s).
Proof.
  intros s. apply fold_keeps. intros s' p C. destruct (content_of (table s' p)); auto.
  split_if; auto using counted_bury.
Qed.

Lemma counted_end_loan : forall s n, counted s -> counted (end_loan s n).
Proof.
  intros s [n|] C; simpl; auto. split_if; auto using counted_sweep, counted_end_lineage.
Qed.

Lemma counted_release : forall s p, counted s -> counted (release s p).
Proof.
  intros s p C. unfold release. destruct (content_of (table s p)); auto;
  auto using counted_end_loan, counted_end_child, counted_remove.
Qed.

Lemma counted_bury_owned : forall s d b, counted s -> counted (bury_owned s d b).
Proof.
  intros s d b. apply fold_keeps. intros s' p C. cbv beta zeta.
  destruct (content_of (table s' p)); auto. split_if; auto using counted_bury.
Qed.

Lemma counted_end_domain : forall s d, counted s -> counted (end_domain s d).
Proof.
  intros s d C. unfold end_domain.
  set (called := bury_owned s d true).
  assert (C1 : counted called) by (apply counted_bury_owned; auto).
  set (dropped := fold_left release (places_of called d) called).
  assert (C2 : counted dropped) by (apply fold_keeps; auto using counted_release).
  exact (counted_bury_owned dropped d false C2).
Qed.

Lemma counted_finish : forall s s1 d c, counted s -> counted s1 -> counted (fst (finish s s1 d c)).
Proof.
  intros s s1 d c C C1. unfold finish. destruct (put s1 d c) as [[s2 p]|] eqn:P; simpl;
  eauto using counted_put.
Qed.

Lemma counted_new_grant : forall s r, counted s -> counted (new_grant s r).
Proof. intros s r C. exact C. Qed.

Lemma counted_give : forall s d g c e s' p, counted s -> give s d g c e = Some (s', p) ->
  counted s'.
Proof.
  intros s d g c e s' p C. unfold give. destruct (copied g);
  eauto using counted_put, counted_remove.
Qed.

Lemma counted_derive : forall s d h r b, counted s -> counted (fst (derive s d h r b)).
Proof.
  intros s d h r b C. unfold derive. destruct (usable _ _ _ _) as [c|] eqn:U; auto.
  apply usable_spec in U. destruct U as (A & _).
  destruct (negb _); auto. destruct b; auto using counted_finish.
  destruct (child_of _ _ _ _) as [[s1 n]|] eqn:H; auto. apply counted_finish; auto.
  unfold child_of in H. destruct (child c). inversion H; subst; auto.
  destruct (make_lineage _ _ _ _) as [[s2 m]|] eqn:M; inversion H; subst.
  apply counted_replace. eapply counted_make; eauto. apply make_lineage_table in M.
  destruct M as (T & _). rewrite T. unfold HeldAt, place_of in *. rewrite A. reflexivity.
Qed.

Lemma counted_deliver : forall s d e l, counted s -> counted (fst (deliver s s d e l)).
Proof.
  intros s d e l C. unfold deliver. cbv zeta beta.
  destruct (new_thing s d Reply false) as [s1|] eqn:T; auto.
  apply counted_new_thing in T; auto. destruct l as [[c r]|].
  - destruct (make_lineage _ _ _ _) as [[s2 n]|] eqn:M; auto. apply counted_make in M; auto.
    destruct (put s2 _ _) as [[s3 p]|] eqn:P; auto. apply counted_put in P; auto.
    destruct (put (new_grant s3 _) _ _) as [[s4 p']|] eqn:P'; auto.
    apply counted_put in P'; auto.
  - destruct (put (new_grant s1 _) _ _) as [[s4 p']|] eqn:P'; auto.
    apply counted_put in P'; auto.
Qed.

Lemma counted_answer : forall s d h g, counted s -> counted (fst (answer s d h g)).
Proof.
  intros s d h g C. unfold answer.
  destruct (match g with Some g => _ | None => false end); auto.
  destruct (find_handle _ _ _ _) as [[]|]; auto.
  - destruct (negb _); auto. destruct (answer_with _ _ _ _) as [[s1 x]|] eqn:A; auto.
    assert (counted s1).
    { unfold answer_with in A. destruct g as [g|]; [|inversion A; subst; auto].
      destruct (givable _ _ _); [|congruence]. destruct (negb _); [inversion A; subst; auto|].
      destruct (give _ _ _ _ _) as [[s2 p]|] eqn:G; inversion A; subst.
      eapply counted_give; eauto. }
    destruct (is_valid _ _); simpl; auto using counted_release.
  - destruct g as [g|]; [destruct (givable _ _ _)|]; simpl; auto using counted_release.
Qed.

Lemma counted_step : forall s o, counted s -> counted (fst (step s o)).
Proof.
  intros s o C. unfold step. destruct (running s (actor o)); [|exact C].
  destruct (perform s o) as [s' x] eqn:P. simpl.
  enough (C' : counted s') by (apply (fold_keeps end_thing counted); auto using counted_end_thing).
  enough (C' : counted (fst (perform s o))) by (rewrite P in C'; exact C'). clear P s' x.
  destruct o; unfold perform.
  - unfold create. destruct k; auto;
    match goal with |- context [new_thing s d ?k false] =>
      destruct (new_thing s d k false) as [s1|] eqn:T; auto end;
    apply counted_new_thing in T; auto; apply counted_finish; auto.
  - apply counted_derive; auto.
  - unfold revoke. destruct (usable _ _ _ _) as [c|] eqn:U; auto. apply usable_spec in U.
    destruct U as (A & _). destruct (child c); auto.
    apply counted_sweep, counted_end_lineage, counted_replace; auto.
    unfold HeldAt, place_of in *. rewrite A. reflexivity.
  - unfold drop. destruct (find_handle _ _ _ _); simpl; auto using counted_release.
  - unfold mint. destruct (usable _ _ _ _); auto. destruct (negb _); auto.
    apply counted_finish; auto.
  - unfold transfer. destruct (usable _ _ _ _); auto. destruct (usable _ _ _ _); auto.
    destruct (givable _ _ _) as [c2|]; auto. destruct (negb _); auto. destruct (negb _); auto.
    destruct (give _ _ _ _ _) as [[s1 p]|] eqn:G; auto. simpl. eapply counted_give; eauto.
  - unfold call. destruct (usable _ _ _ _); auto. destruct (usable _ _ _ _); auto.
    destruct (lendable _ _ _); auto. destruct (negb _); auto using counted_deliver.
  - apply counted_answer; auto.
  - simpl. apply counted_end_domain; auto.
Qed.

Lemma count_none : forall n, count (fun _ => false) n = 0.
Proof. induction n; simpl; auto. Qed.

Lemma counted_boot : forall c planned, counted (boot c planned).
Proof.
  intros c planned. unfold boot. apply fold_keeps.
  - intros s [d k|d number r] C; unfold plan.
    + destruct (new_thing s d k true) as [s'|] eqn:T; eauto using counted_new_thing.
    + destruct (number <? next_thing s); auto. cbv zeta. apply counted_finish; auto.
  - split; [|split]; split; simpl; try discriminate; intros; try split; try lia.
    + symmetry. apply count_none.
    + symmetry. apply count_none.
Qed.

(** At any time, for every domain: the lineages that it pays for, its slots in use, and its objects
    of each kind are as many as its counters say, and no more than its quotas. *)
Theorem quota_conserved : forall c planned operations d k,
  let s := run (boot c planned) operations in
  charged s d = count (is_charged (pool s) d) (lineage_pool c)
  /\ charged s d <= lineage_quota c d
  /\ used s d = count (is_used (table s) d) (slots c d)
  /\ used s d <= slots c d
  /\ made s d k = count (is_made (things s) d k) (next_thing s)
  /\ made s d k <= object_quota c d k.
Proof.
  intros c planned operations d k s.
  assert (C : counted s).
  { unfold s. generalize (counted_boot c planned). generalize (boot c planned).
    unfold run. induction operations; simpl; auto using counted_step. }
  assert (Z : sizes s = c).
  { unfold s. rewrite (frame_sizes _ _ (run_frame operations (boot c planned))).
    unfold boot. enough (P : (fun s => sizes s = c) (fold_left plan planned (empty c))) by exact P.
    apply fold_keeps; auto.
    intros s1 x E. rewrite (frame_sizes _ _ (plan_frame s1 x)). exact E. }
  destruct C as ([_ L] & [_ S] & [_ T]). rewrite Z in *.
  destruct (L d), (T d k). repeat split; auto. rewrite S. apply count_bound.
Qed.
