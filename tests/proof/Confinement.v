(** Confinement: a right that no path of messages leads to is never obtained. *)

From Coq Require Import Arith List NArith Bool Lia.
From Phi Require Import Model Tables Provenance Amplification.
Import ListNotations.

(** What authority is over: an object of the plan, what a domain makes of a kind, or the answer to a
    call of a domain. *)
Inductive asset := Planned (number : nat) | MadeBy (d : nat) (k : kind) | CallOf (d : nat).

(** The asset that an object is, for a run that begins in [s0] and has come to [s]. *)
Definition asset_of (s0 s : state) (number : nat) : asset :=
  if number <? next_thing s0 then Planned number
  else
    match thing_kind (things s number) with
    | Reply => CallOf (owner (things s number))
    | k => MadeBy (owner (things s number)) k
    end.

(** Who is answered by the holder of an asset. *)
Definition answers (s0 : state) (a : asset) : option nat :=
  match a with
  | Planned number =>
      if kind_eq (thing_kind (things s0 number)) Reply then Some (owner (things s0 number))
      else None
  | MadeBy _ _ => None
  | CallOf d => Some d
  end.

(** A right (the number of its bit), or only that something is held. *)
Definition access := option N.

Definition carries (c : capability) (r : access) : Prop :=
  match r with None => True | Some bit => N.testbit (rights c) bit = true end.

Definition SEND_BIT := 4%N.
Definition CALL_BIT := 5%N.
Definition RECEIVE_BIT := 6%N.

(** The authority graph: what each domain may come to hold, told from the holdings in [s0] alone. *)
Inductive may (s0 : state) : nat -> asset -> access -> Prop :=
  (** It holds it. *)
  | May_hold p c r : HeldAt s0 p c -> carries c r -> may s0 (fst p) (asset_of s0 s0 (object c)) r
  (** It can make it, within its quota. *)
  | May_make d k r : 0 < object_quota (sizes s0) d k ->
      (forall bit, r = Some bit -> N.testbit (rights_of k) bit = true) ->
      may s0 d (MadeBy d k) r
  (** It can be sent it, by who may send to it and may hold it. *)
  | May_send d e mailbox right a r : right = SEND_BIT \/ right = CALL_BIT ->
      may s0 d mailbox (Some right) -> may s0 e mailbox (Some RECEIVE_BIT) ->
      may s0 d a r -> may s0 e a r
  (** Who may be called may answer. *)
  | May_call d e mailbox r : may s0 d mailbox (Some CALL_BIT) ->
      may s0 e mailbox (Some RECEIVE_BIT) -> may s0 e (CallOf d) r
  (** An answer can carry what its sender may hold. *)
  | May_answer d e waiting a r : answers s0 waiting = Some d -> may s0 e waiting None ->
      may s0 e a r -> may s0 d a r
  (** Who receives from a mailbox can mint objects of its own on it. *)
  | May_mint d mailbox r : may s0 d mailbox (Some RECEIVE_BIT) ->
      (forall bit, r = Some bit -> N.testbit (rights_of Object) bit = true) ->
      may s0 d mailbox r.

(** What is held is within the authority graph. *)
Definition confined (s0 s : state) : Prop :=
  frame s0 s /\ forall p c, HeldAt s p c -> object c < next_thing s /\
    forall r, carries c r -> may s0 (fst p) (asset_of s0 s (object c)) r.

Lemma asset_of_later : forall s0 s s' n, frame s s' -> n < next_thing s ->
  asset_of s0 s' n = asset_of s0 s n.
Proof.
  intros s0 s s' n [_ _ _ _ T] L. unfold asset_of. destruct (T n L) as [O K].
  rewrite O, K. reflexivity.
Qed.

Lemma descends_carries : forall c c' r, subset (rights c') (rights c) = true -> carries c' r ->
  carries c r.
Proof. intros c c' [bit|] S; simpl; auto. apply subset_bit. exact S. Qed.

Lemma same_subset : forall c c', same c c' -> subset (rights c') (rights c) = true.
Proof. intros c c' (_ & R & _). rewrite R. apply subset_refl. Qed.

Lemma subset_carries : forall c right bit, subset right (rights c) = true ->
  N.testbit right bit = true -> carries c (Some bit).
Proof. intros. simpl. eapply subset_bit; eauto. Qed.

Lemma way_may : forall s0 s right d e, confined s0 s -> way s right d e ->
  exists mailbox, may s0 e mailbox (Some RECEIVE_BIT) /\
    forall bit, N.testbit right bit = true -> may s0 d mailbox (Some bit).
Proof.
  intros s0 s right d e [_ C] (i & w & j & m & W & WR & M & MR & E).
  destruct (C _ _ W) as [_ CW]. destruct (C _ _ M) as [_ CM].
  exists (asset_of s0 s (object w)). split.
  - rewrite E. apply CM. eapply subset_carries; eauto.
  - intros. apply CW. eapply subset_carries; eauto.
Qed.

Lemma answers_asset : forall s0 s n, frame s0 s -> thing_kind (things s n) = Reply ->
  answers s0 (asset_of s0 s n) = Some (owner (things s n)).
Proof.
  intros s0 s n F K. unfold asset_of. destruct (Nat.ltb_spec n (next_thing s0)) as [L|L]; simpl.
  - destruct F as [_ _ _ _ T]. destruct (T n L) as [O K']. rewrite <- K', K, O. reflexivity.
  - rewrite K. reflexivity.
Qed.

Lemma grows_confined : forall s0 s s', grows s s' -> confined s0 s -> confined s0 s'.
Proof.
  intros s0 s s' [F G] C. pose proof C as [F0 C0]. split. eapply frame_trans; eauto.
  intros p c' H.
  assert (Moved : forall d q c, HeldAt s q c -> object c' = object c ->
    subset (rights c') (rights c) = true ->
    (forall a r, may s0 (fst q) a r -> may s0 d a r) ->
    object c' < next_thing s' /\
    forall r, carries c' r -> may s0 d (asset_of s0 s' (object c')) r).
  { intros d q c A O S W. destruct (C0 _ _ A) as [B M]. rewrite O.
    rewrite (asset_of_later s0 s s') by auto.
    destruct F as [_ _ _ L _]. split. lia. eauto using descends_carries. }
  destruct (G _ _ H) as [c A S | i c A D | right d i c R W A D | d i c W A D
    | N [B O] K Q R | d N [B O] K W | i c N A R O U].
  - eapply Moved; eauto using same_subset. apply S.
  - eapply Moved; eauto; apply D.
  - destruct (way_may _ _ _ _ _ C W) as (mailbox & W1 & W2).
    eapply (Moved (fst p) (d, i) c); [exact A | apply D | apply D |]. simpl. intros a r M.
    destruct R; subst;
    [eapply May_send with (right := SEND_BIT) | eapply May_send with (right := CALL_BIT)]; eauto;
    apply W2; reflexivity.
  - destruct W as (j & w & W1 & W2 & W3). 
    eapply (Moved (fst p) (d, i) c); [exact A | apply D | apply D |]. simpl. intros a r M.
    eapply May_answer with (waiting := asset_of s0 s (object w)); eauto.
    + rewrite answers_asset by auto. congruence.
    + apply (proj2 (C0 _ _ W1)). exact I.
  - split. lia. intros r X. unfold asset_of.
    destruct (Nat.ltb_spec (object c') (next_thing s0)).
    { destruct F0 as [_ _ _ L _]. lia. }
    destruct F0 as [Z _ _ _ _]. rewrite O.
    assert (M : may s0 (fst p) (MadeBy (fst p) (thing_kind (things s' (object c')))) r).
    { apply May_make; [rewrite <- Z; auto | intros bit ->; eapply subset_bit; eauto]. }
    destruct (thing_kind (things s' (object c'))); auto. congruence.
  - split. lia. intros r X. unfold asset_of.
    destruct (Nat.ltb_spec (object c') (next_thing s0)).
    { destruct F0 as [_ _ _ L _]. lia. }
    rewrite K, O. destruct (way_may _ _ _ _ _ C W) as (mailbox & W1 & W2).
    eapply May_call; eauto.
  - destruct (C0 _ _ A) as [B M]. rewrite O. destruct F as [F1 F2 F3 F4 F5]. split. lia.
    rewrite (asset_of_later s0 s s') by (try constructor; auto).
    intros r X. apply May_mint. apply M. eapply subset_carries; eauto.
    intros bit ->. eapply subset_bit; eauto.
Qed.

Lemma boot_objects : forall sizes planned p c, let s := boot sizes planned in
  HeldAt s p c -> object c < next_thing s.
Proof.
  intros sizes planned. unfold boot.
  enough (P : forall p c, HeldAt (fold_left plan planned (empty sizes)) p c ->
    object c < next_thing (fold_left plan planned (empty sizes))) by exact P.
  apply (fold_keeps plan (fun s => forall p c, HeldAt s p c -> object c < next_thing s)).
  - intros s x R p c H. destruct (plan_frame s x) as [_ _ _ L _].
    apply plan_held in H. destruct H as [H | (A & _)]; auto. apply R in H. lia.
  - intros p c H. destruct (empty_held _ _ _ H).
Qed.

(** Whatever domains do, what a domain holds lies within the authority graph of the plan. *)
Theorem confinement : forall sizes planned operations d i c r,
  let s0 := boot sizes planned in let s := run s0 operations in
  HeldAt s (d, i) c -> carries c r -> may s0 d (asset_of s0 s (object c)) r.
Proof.
  intros sizes planned operations d i c r s0 s H X.
  assert (C : confined s0 s).
  { unfold s. apply run_grows_from. apply grows_confined. split. apply frame_refl.
    intros p c0 A. split. eapply boot_objects; eauto. intros. apply May_hold; auto. }
  destruct C as [_ C]. destruct (C _ _ H) as [_ M].
  exact (M r X).
Qed.

(** The side of an asset, told from the sides of the plan's objects and of the domains. *)
Definition side_of (inside : nat -> bool) (side : nat -> bool) (a : asset) : bool :=
  match a with Planned number => side number | MadeBy d _ => inside d | CallOf d => inside d end.

(** Two groups of domains that have no object in common at boot never have one. *)
Theorem isolation : forall sizes planned operations (inside side : nat -> bool),
  let s0 := boot sizes planned in let s := run s0 operations in
  (forall p c, HeldAt s0 p c -> side (object c) = inside (fst p)) ->
  (forall n, thing_kind (things s0 n) = Reply -> side n = inside (owner (things s0 n))) ->
  forall p c p' c', HeldAt s p c -> HeldAt s p' c' -> object c = object c' ->
  inside (fst p) = inside (fst p').
Proof.
  intros sizes planned operations inside side s0 s Start Replies.
  assert (M : forall d a r, may s0 d a r -> side_of inside side a = inside d).
  { intros d a r M. induction M; simpl in *; auto; try congruence.
    - unfold asset_of. pose proof (boot_objects sizes planned p c H) as L.
      apply Nat.ltb_lt in L. fold s0 in L. rewrite L. simpl. auto.
    - enough (side_of inside side waiting = inside d) by congruence.
      destruct waiting; simpl in *; try congruence.
      destruct (kind_eq_spec (thing_kind (things s0 number)) Reply); try congruence.
      rewrite Replies by auto. congruence. }
  intros [d i] c [d' i'] c' H H' E. simpl.
  assert (A : side_of inside side (asset_of s0 s (object c)) = inside d).
  { apply M with None. eapply confinement; eauto. exact I. }
  assert (A' : side_of inside side (asset_of s0 s (object c')) = inside d').
  { apply M with None. eapply confinement; eauto. exact I. }
  rewrite E in A. congruence.
Qed.
