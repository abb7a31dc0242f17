(** No amplification: what a capability may do, the grant that it descends from allowed. *)

From Coq Require Import Arith List NArith Bool Lia.
From Phi Require Import Model Tables Provenance.
Import ListNotations.

(** Every capability descends from a root grant that was made, with rights of that grant only. *)
Definition rooted (s : state) : Prop :=
  forall p c, HeldAt s p c -> root c < next_grant s /\ subset (rights c) (grants s (root c)) = true.

Lemma grows_rooted : forall s s', grows s s' -> rooted s -> rooted s'.
Proof.
  intros s s' [F G] R p c' H.
  assert (D : forall q c, HeldAt s q c -> descends c c' ->
    root c' < next_grant s' /\ subset (rights c') (grants s' (root c')) = true).
  { intros q c A (_ & E & S). destruct (R _ _ A). destruct F as [_ L K _ _].
    rewrite E, K by lia. split. lia. eapply subset_trans; eauto. }
  assert (N : new_root s s' c' ->
    root c' < next_grant s' /\ subset (rights c') (grants s' (root c')) = true).
  { intros [B E]. rewrite E. split. lia. apply subset_refl. }
  destruct (G _ _ H); eauto using descends_same, descends_refl.
Qed.

Lemma run_grows_from : forall (P : state -> Prop), (forall s s', grows s s' -> P s -> P s') ->
  forall operations s, P s -> P (run s operations).
Proof.
  intros P H operations. unfold run. induction operations; simpl; intros; auto.
  apply IHoperations. eapply H; eauto. apply step_grows.
Qed.

Lemma fold_keeps : forall {A} (f : state -> A -> state) (P : state -> Prop),
  (forall s x, P s -> P (f s x)) -> forall l s, P s -> P (fold_left f l s).
Proof. intros A f P H l. induction l; simpl; auto. Qed.

Lemma empty_held : forall sizes p c, ~ HeldAt (empty sizes) p c.
Proof. intros sizes p c H. discriminate H. Qed.

(** What one line of the plan adds: an object, or a capability to an object that there is. *)
Lemma plan_held : forall s x p c, HeldAt (plan s x) p c -> HeldAt s p c \/
  (object c < next_thing (plan s x) /\ root c < next_grant (plan s x)
   /\ grants (plan s x) (root c) = rights c /\ origin_of c = None /\ history c = []
   /\ child c = None /\ lent c = None /\ loan c = false).
Proof.
  intros s x p c. destruct x; unfold plan.
  - destruct (new_thing s d k true) as [s'|] eqn:T; [|auto]. apply new_thing_spec in T.
    destruct T as (T & _). unfold HeldAt. rewrite T. auto.
  - destruct (number <? next_thing s) eqn:L; auto. apply Nat.ltb_lt in L.
    unfold finish. destruct (put _ d _) as [[s' q]|] eqn:P; simpl; auto.
    intros H. destruct (put_held _ _ _ _ _ P _ _ H) as [[-> ->]|B]; auto.
    right. apply put_later in P. destruct P as (P1 & P2 & P3 & P4).
    rewrite P1, P2, P4. simpl. unfold update. rewrite Nat.eqb_refl. repeat split; auto.
Qed.

Lemma plan_frame : forall s x, frame s (plan s x).
Proof.
  intros s [d k|d number r]; unfold plan.
  - destruct (new_thing s d k true) eqn:T; auto using frame_refl. apply new_thing_spec in T. tauto.
  - destruct (number <? next_thing s); auto using frame_refl.
    unfold finish. destruct (put _ d _) as [[s' q]|] eqn:P; simpl; auto using frame_refl.
    apply put_frame in P. eapply frame_trans; eauto using new_grant_frame.
Qed.

Lemma boot_rooted : forall sizes planned, rooted (boot sizes planned).
Proof.
  intros. unfold boot. apply fold_keeps.
  - intros s x R p c H. destruct (plan_frame s x) as [_ L G _ _].
    apply plan_held in H. destruct H as [H | (_ & A & B & _)].
    + destruct (R _ _ H). rewrite G by lia. split; auto. lia.
    + rewrite B. split; auto. apply subset_refl.
  - intros p c H. destruct (empty_held _ _ _ H).
Qed.

(** Whatever domains do after boot, no capability has a right that its root grant (of the plan, of a
    create call, of a mint, or of a call's answer) had not. *)
Theorem no_amplification : forall sizes planned operations p c,
  let s := run (boot sizes planned) operations in
  HeldAt s p c -> subset (rights c) (grants s (root c)) = true.
Proof.
  intros sizes planned operations p c s H.
  assert (R : rooted s).
  { apply run_grows_from. apply grows_rooted. apply boot_rooted. }
  apply R in H. tauto.
Qed.

Lemma run_frame : forall operations s, frame s (run s operations).
Proof.
  intros. unfold run. revert s. induction operations; simpl; intros. apply frame_refl.
  eapply frame_trans; [apply step_grows | apply IHoperations].
Qed.

(** Root grants are written once: what they allowed when they were made, they allow for ever. *)
Theorem grants_are_final : forall s operations n, n < next_grant s ->
  grants (run s operations) n = grants s n.
Proof. intros. apply run_frame. auto. Qed.
