(** Where capabilities come from: whatever is held after a step was held before it, or was made from
    what was held before it in one of six ways. *)

From Coq Require Import Arith List NArith Bool Lia.
From Phi Require Import Model Tables.
Import ListNotations.

(** The same grant of rights to the same object, with fewer rights or as many. *)
Definition descends (c c' : capability) : Prop :=
  object c' = object c /\ root c' = root c /\ subset (rights c') (rights c) = true.

Definition new_root (s s' : state) (c' : capability) : Prop :=
  next_grant s <= root c' < next_grant s' /\ grants s' (root c') = rights c'.

Definition new_object (s s' : state) (c' : capability) (d : nat) : Prop :=
  next_thing s <= object c' < next_thing s' /\ owner (things s' (object c')) = d.

(** A way for messages from [d] to [e]: both hold what they need of one mailbox, and [right] is what
    [d] needs. *)
Definition way (s : state) (right : N) (d e : nat) : Prop :=
  exists i w j m, HeldAt s (d, i) w /\ subset right (rights w) = true
    /\ HeldAt s (e, j) m /\ subset RECEIVE (rights m) = true /\ object w = object m.

(** A call of [e] that [d] can answer. *)
Definition way_back (s : state) (d e : nat) : Prop :=
  exists i r, HeldAt s (d, i) r /\ thing_kind (things s (object r)) = Reply
    /\ owner (things s (object r)) = e.

Inductive source (s s' : state) (p : place) (c' : capability) : Prop :=
  | Kept c : HeldAt s p c -> same c c' -> source s s' p c'
  | Shrunk i c : HeldAt s (fst p, i) c -> descends c c' -> source s s' p c'
  | Sent right d i c : right = SEND \/ right = CALL -> way s right d (fst p) ->
      HeldAt s (d, i) c -> descends c c' -> source s s' p c'
  | Answered d i c : way_back s d (fst p) ->
      HeldAt s (d, i) c -> descends c c' -> source s s' p c'
  | Created : new_root s s' c' -> new_object s s' c' (fst p) ->
      thing_kind (things s' (object c')) <> Reply ->
      0 < object_quota (sizes s) (fst p) (thing_kind (things s' (object c'))) ->
      subset (rights c') (rights_of (thing_kind (things s' (object c')))) = true ->
      source s s' p c'
  | Called d : new_root s s' c' -> new_object s s' c' d ->
      thing_kind (things s' (object c')) = Reply -> way s CALL d (fst p) -> source s s' p c'
  | Minted i c : new_root s s' c' -> HeldAt s (fst p, i) c ->
      subset RECEIVE (rights c) = true -> object c' = object c ->
      subset (rights c') (rights_of Object) = true -> source s s' p c'.

Definition grows (s s' : state) : Prop :=
  frame s s' /\ forall p c', HeldAt s' p c' -> source s s' p c'.

Lemma descends_refl : forall c, descends c c.
Proof. unfold descends; intuition. apply subset_refl. Qed.

Lemma descends_same : forall a b c, descends a b -> same b c -> descends a c.
Proof.
  unfold descends, same. intros a b c (? & ? & ?) (? & R & ? & ? & ?). rewrite R.
  intuition; congruence.
Qed.

Lemma new_root_later : forall s s1 s2 c c', new_root s s1 c -> frame s1 s2 -> same c c' ->
  new_root s s2 c'.
Proof.
  unfold new_root, same. intros s s1 s2 c c' [B G] F (_ & R & _ & E & _). rewrite E, R.
  destruct F as [_ L A _ _]. rewrite A by lia. split; auto. lia.
Qed.

Lemma new_object_later : forall s s1 s2 c c' d, new_object s s1 c d -> frame s1 s2 -> same c c' ->
  new_object s s2 c' d /\ thing_kind (things s2 (object c')) = thing_kind (things s1 (object c)).
Proof.
  unfold new_object, same. intros s s1 s2 c c' d [B G] F (_ & _ & E & _). rewrite E.
  destruct F as [_ _ _ L A]. destruct (A (object c) ltac:(lia)). repeat split; try congruence; lia.
Qed.

Lemma source_later : forall s s1 s2 p c c', source s s1 p c -> frame s1 s2 -> same c c' ->
  source s s2 p c'.
Proof.
  intros s s1 s2 p c c' H F S.
  destruct H as [c0 H H1 | i c0 H H1 | r d i c0 R W H H1 | d i c0 W H H1 | N O K Q R | d N O K W
    | i c0 N H R O U].
  - eapply Kept; eauto using same_trans.
  - eapply Shrunk; eauto using descends_same.
  - eapply Sent; eauto using descends_same.
  - eapply Answered; eauto using descends_same.
  - destruct (new_object_later _ _ _ _ _ _ O F S). pose proof S as (_ & R' & _).
    eapply Created; eauto using new_root_later; congruence.
  - destruct (new_object_later _ _ _ _ _ _ O F S). eapply Called; eauto using new_root_later.
    congruence.
  - pose proof S as (S1 & S2 & S3 & S4 & S5).
    eapply Minted; eauto using new_root_later; congruence.
Qed.

Lemma shrinks_grows : forall s s', shrinks s s' -> grows s s'.
Proof. intros s s' [F H]. split; auto. intros p c' A. destruct (H _ _ A) as (c & ? & ?).
  eapply Kept; eauto. Qed.

Lemma grows_shrinks : forall s s1 s2, grows s s1 -> shrinks s1 s2 -> grows s s2.
Proof.
  intros s s1 s2 [F H] [F' H']. split. eapply frame_trans; eauto.
  intros p c' A. destruct (H' _ _ A) as (c & ? & ?). eapply source_later; eauto.
Qed.

(** Adding a capability that has a source to a state that has grown. *)
Lemma grows_put : forall s s1 d c s2 p, grows s s1 -> put s1 d c = Some (s2, p) ->
  (forall i, source s s2 (d, i) c) -> grows s s2.
Proof.
  intros s s1 d c s2 p [F H] P S. pose proof (put_frame _ _ _ _ _ P) as F2.
  split. eapply frame_trans; eauto.
  intros p' c' A. destruct (put_held _ _ _ _ _ P _ _ A) as [[-> ->] | B].
  - apply put_spec in P. destruct P as (E & _). destruct p as [x i]; simpl in E; subst. apply S.
  - eapply source_later; eauto using same_refl.
Qed.

Lemma grows_refl : forall s, grows s s.
Proof. intros. apply shrinks_grows, shrinks_refl. Qed.

(** A change of nothing that the table holds. *)
Lemma grows_aside : forall s s', table s' = table s -> frame s s' -> grows s s'.
Proof.
  intros s s' T F. apply shrinks_grows. split; auto. intros p c'. unfold HeldAt. rewrite T.
  eauto using same_refl.
Qed.

Lemma finish_grows : forall s s1 d c s2 r, grows s s1 ->
  (forall s3 p, put s1 d c = Some (s3, p) -> forall i, source s s3 (d, i) c) ->
  finish s s1 d c = (s2, r) -> grows s s2.
Proof.
  intros s s1 d c s2 r G S. unfold finish. destruct (put s1 d c) as [[s3 p]|] eqn:P.
  - intros H; inversion H; subst. eapply grows_put; eauto.
  - intros H; inversion H; subst. apply grows_refl.
Qed.

Lemma put_later : forall s d c s' p, put s d c = Some (s', p) ->
  grants s' = grants s /\ next_grant s' = next_grant s /\ things s' = things s
  /\ next_thing s' = next_thing s.
Proof. intros s d c s' p H. apply put_spec in H. intuition. Qed.

Lemma new_grant_frame : forall s r, frame s (new_grant s r).
Proof.
  intros. constructor; simpl; auto. intros n L. unfold update.
  destruct (Nat.eqb_spec n (next_grant s)); auto; lia.
Qed.

Lemma new_grant_rights : forall s r, grants (new_grant s r) (next_grant s) = r.
Proof. intros. simpl. unfold update. rewrite Nat.eqb_refl. reflexivity. Qed.

(** ** Operation by operation *)

Lemma create_grows : forall s d k s' r, create s d k = (s', r) -> grows s s'.
Proof.
  intros s d k s' r H. unfold create in H.
  destruct k; try (inversion H; subst; apply grows_refl);
  match type of H with context [new_thing s d ?k false] =>
    destruct (new_thing s d k false) as [s1|] eqn:T; [|inversion H; subst; apply grows_refl] end;
  apply new_thing_spec in T; destruct T as (T1 & T2 & T3 & T4 & T5 & T6 & T7 & _ & T9);
  (eapply finish_grows; [| |exact H];
    [ apply grows_aside; [exact T1 | eapply frame_trans; [exact T2 | apply new_grant_frame]]
    | intros s3 p P i; apply put_later in P; destruct P as (P1 & P2 & P3 & P4);
      apply Created; unfold new_root, new_object;
      rewrite ?P1, ?P2, ?P3, ?P4; simpl; rewrite ?T3, ?T5, ?T7; unfold update;
      rewrite ?Nat.eqb_refl; repeat split; auto; try lia; try congruence; apply T9; reflexivity ]).
Qed.

Lemma derived_descends : forall c r o h, subset r (rights c) = true -> descends c (derived c r o h).
Proof. unfold descends; intuition. Qed.

Lemma child_of_shrinks : forall s d p c s' n, HeldAt s p c -> child_of s d p c = inl (s', n) ->
  shrinks s s'.
Proof.
  intros s d p c s' n H. unfold child_of. destruct (child c).
  - intros E; inversion E; subst. apply shrinks_refl.
  - destruct (make_lineage s (origin_of c) d false) as [[s1 m]|] eqn:M; try congruence.
    intros E; inversion E; subst. apply make_lineage_table in M.
    destruct M as (T & F & _). apply shrinks_trans with s1.
    + split; auto. unfold HeldAt. rewrite T. eauto using same_refl.
    + apply set_content_shrinks. intros c' E'. inversion E'; subst. exists c. split.
      unfold HeldAt. rewrite T. exact H. unfold same; intuition.
Qed.

Lemma derive_grows : forall s d h r b s' x, derive s d h r b = (s', x) -> grows s s'.
Proof.
  intros s d h r b s' x H. unfold derive in H.
  destruct (usable s d h (N.lor DERIVE r)) as [c|] eqn:U; [|inversion H; subst; apply grows_refl].
  apply usable_spec in U. destruct U as (U1 & U2 & U3). apply subset_lor in U3.
  destruct (negb (has_room s d 1)); [inversion H; subst; apply grows_refl|].
  destruct b.
  - destruct (child_of s d (place_of d h) c) as [[s1 n]|] eqn:C;
    [|inversion H; subst; apply grows_refl].
    eapply finish_grows; [| |exact H].
    + apply shrinks_grows. eapply child_of_shrinks; eauto.
    + intros. eapply Shrunk; eauto. apply derived_descends. tauto.
  - eapply finish_grows; [apply grows_refl| |exact H].
    intros. eapply Shrunk; eauto. apply derived_descends. tauto.
Qed.

Lemma revoke_grows : forall s d h s' x, revoke s d h = (s', x) -> grows s s'.
Proof.
  intros s d h s' x H. unfold revoke in H.
  destruct (usable s d h DERIVE) as [c|] eqn:U; [|inversion H; subst; apply grows_refl].
  apply usable_spec in U. destruct U as (U1 & _).
  destruct (child c); inversion H; subst; [|apply grows_refl].
  apply shrinks_grows. eapply shrinks_trans; [|apply sweep_shrinks].
  eapply shrinks_trans; [|apply end_lineage_shrinks].
  apply set_content_shrinks. intros c' E; inversion E; subst. exists c. split; auto.
  unfold same; intuition.
Qed.

Lemma drop_grows : forall s d h s' x, drop s d h = (s', x) -> grows s s'.
Proof.
  intros s d h s' x H. unfold drop in H. destruct (find_handle _ _ _ _); inversion H; subst.
  apply shrinks_grows, release_shrinks. apply grows_refl.
Qed.

Lemma kind_eq_spec : forall a b, reflect (a = b) (kind_eq a b).
Proof. intros [] []; simpl; constructor; congruence. Qed.

Lemma mint_grows : forall s d h r s' x, mint s d h r = (s', x) -> grows s s'.
Proof.
  intros s d h r s' x H. unfold mint in H.
  destruct (usable s d h RECEIVE) as [c|] eqn:U; [|inversion H; subst; apply grows_refl].
  apply usable_spec in U. destruct U as (U1 & U2 & U3).
  destruct (negb _) eqn:E; [inversion H; subst; apply grows_refl|].
  apply negb_false_iff, andb_prop in E. destruct E as [E1 E2].
  eapply finish_grows; [| |exact H].
  - apply grows_aside; [reflexivity | apply new_grant_frame].
  - intros s3 p P i. apply put_later in P; destruct P as (P1 & P2 & P3 & P4).
    eapply Minted; eauto. unfold new_root. rewrite P1, P2. simpl. unfold update.
    rewrite Nat.eqb_refl. repeat split; auto.
Qed.

Lemma givable_spec : forall s d g c, givable s d g = inl c ->
  HeldAt s (d, fst (given g)) c /\ subset (given_rights g) (rights c) = true /\
  is_valid s (origin_of c) = true /\ loan c = false.
Proof.
  intros s d g c. unfold givable.
  destruct (usable s d (given g) _) as [c0|] eqn:U; try congruence.
  apply usable_spec in U. destruct U as (U1 & U2 & U3). apply subset_lor in U3.
  destruct (loan c0) eqn:L; intros H; inversion H; subst. tauto.
Qed.

Lemma give_grows : forall s d g c e s' p, givable s d g = inl c -> give s d g c e = Some (s', p) ->
  (forall i c', descends c c' -> source s s' (e, i) c') -> grows s s'.
Proof.
  intros s d g c e s' p U G S. apply givable_spec in U. destruct U as (U1 & U2 & _).
  unfold give in G. destruct (copied g).
  - eapply grows_put; [apply grows_refl | exact G |]. intros. apply S.
    apply derived_descends. auto.
  - eapply grows_put; [apply shrinks_grows, remove_shrinks | exact G |]. intros. apply S.
    unfold descends; simpl; intuition.
Qed.

Lemma is_way_object : forall c c', is_way c c' = true -> object c = object c'.
Proof. unfold is_way. intros c c' H. apply andb_prop in H. apply Nat.eqb_eq. tauto. Qed.

Lemma transfer_grows : forall s d h g e h' s' x, transfer s d h g e h' = (s', x) -> grows s s'.
Proof.
  intros s d h g e h' s' x H. unfold transfer in H.
  destruct (usable s d h SEND) as [w|] eqn:W; [|inversion H; subst; apply grows_refl].
  destruct (usable s e h' RECEIVE) as [m|] eqn:M; [|inversion H; subst; apply grows_refl].
  destruct (givable s d g) as [c|] eqn:C; [|inversion H; subst; apply grows_refl].
  destruct (is_way w m) eqn:Y; simpl in H; [|inversion H; subst; apply grows_refl].
  destruct (has_room s e 1); simpl in H; [|inversion H; subst; apply grows_refl].
  destruct (give s d g c e) as [[s1 p]|] eqn:G; inversion H; subst; [|apply grows_refl].
  apply usable_spec in W. apply usable_spec in M. apply is_way_object in Y.
  eapply give_grows; eauto. intros i c' D. apply givable_spec in C.
  eapply Sent with (right := SEND) (d := d) (c := c); eauto; try apply C.
  exists (fst h), w, (fst h'), m. intuition.
Qed.

Lemma release_after : forall s s1 p, grows s s1 -> grows s (release s1 p).
Proof. intros. eapply grows_shrinks; eauto using release_shrinks. Qed.

Lemma answer_with_grows : forall s d g e s' x, answer_with s d g e = inl (s', x) ->
  way_back s d e -> grows s s'.
Proof.
  intros s d g e s' x H B. unfold answer_with in H.
  destruct g as [g|]; [|inversion H; subst; apply grows_refl].
  destruct (givable s d g) as [c|] eqn:C; [|congruence].
  destruct (negb _); [inversion H; subst; apply grows_refl|].
  destruct (give s d g c e) as [[s1 p]|] eqn:G; inversion H; subst.
  eapply give_grows; eauto. intros i c' D. apply givable_spec in C.
  eapply Answered with (d := d); eauto; apply C.
Qed.

Lemma find_handle_held : forall s d slot n c, find_handle s d slot n = Some (Held c) ->
  HeldAt s (d, slot) c.
Proof. intros s d slot n c. unfold find_handle. destruct (_ && _); congruence. Qed.

Lemma answer_grows : forall s d h g s' x, answer s d h g = (s', x) -> grows s s'.
Proof.
  intros s d h g s' x H. unfold answer in H.
  destruct (match g with Some g => _ | None => false end); [inversion H; subst; apply grows_refl|].
  destruct (find_handle s d (fst h) (snd h)) as [[]|] eqn:F;
  try (inversion H; subst; apply grows_refl).
  - destruct (negb _) eqn:E; [inversion H; subst; apply grows_refl|].
    apply negb_false_iff, andb_prop in E. destruct E as [E1 E2].
    destruct (kind_eq_spec (thing_kind (things s (object held))) Reply) as [K|]; [|congruence].
    destruct (answer_with s d g _) as [[s1 handles]|] eqn:A;
    [|inversion H; subst; apply grows_refl].
    apply find_handle_held in F.
    assert (B : way_back s d (owner (things s (object held)))).
    { exists (fst h), held. intuition. }
    destruct (is_valid s (origin_of held)); inversion H; subst; apply release_after.
    + eapply answer_with_grows; eauto.
    + apply grows_refl.
  - destruct g as [g|]; [destruct (givable s d g)|]; inversion H; subst;
    try apply release_after; apply grows_refl.
Qed.

Lemma lendable_spec : forall s d l c r, lendable s d l = inl (Some (c, r)) ->
  exists i, HeldAt s (d, i) c /\ subset (N.land r LOAN) (rights c) = true /\
  is_valid s (origin_of c) = true.
Proof.
  intros s d l c r. unfold lendable. destruct l as [[h r']|]; try congruence.
  destruct (usable s d h _) as [c0|] eqn:U; try congruence.
  apply usable_spec in U. destruct U as (U1 & U2 & U3). apply subset_lor in U3.
  destruct (kind_eq _ _); intros H; inversion H; subst. eexists. intuition eauto.
Qed.

(** The reply capability that [d] gets of a call of [e]. *)
Lemma reply_grows : forall s s1 d e n l s2 p, grows s s1 ->
  next_thing s <= n < next_thing s1 -> owner (things s1 n) = d ->
  thing_kind (things s1 n) = Reply -> way s CALL d e ->
  put (new_grant s1 TRANSFER) e (root_capability (new_grant s1 TRANSFER) Reply TRANSFER n l)
    = Some (s2, p) ->
  grows s s2.
Proof.
  intros s s1 d e n l s2 p G B O K W P.
  eapply grows_put; [|exact P|].
  - destruct G as [F G]. split; [eapply frame_trans; eauto using new_grant_frame|].
    intros p' c' A. eapply source_later; [apply G; exact A | apply new_grant_frame |].
    apply same_refl.
  - intros i. apply put_later in P; destruct P as (P1 & P2 & P3 & P4).
    destruct G as [[_ G1 _ _ _] _].
    eapply Called with (d := d); auto; unfold new_root, new_object;
    rewrite ?P1, ?P2, ?P3, ?P4; simpl; auto.
    unfold update. rewrite Nat.eqb_refl. repeat split; auto; lia.
Qed.

Lemma deliver_grows : forall s d e l s' x, deliver s s d e l = (s', x) -> way s CALL d e ->
  (forall c r, l = Some (c, r) -> exists i, HeldAt s (d, i) c /\
     subset (N.land r LOAN) (rights c) = true) -> grows s s'.
Proof.
  intros s d e l s' x H W L. unfold deliver in H. cbv zeta beta in H.
  destruct (new_thing s d Reply false) as [s1|] eqn:T; [|inversion H; subst; apply grows_refl].
  apply new_thing_spec in T. destruct T as (T1 & T2 & T3 & T4 & T5 & T6 & T7 & _).
  assert (G1 : grows s s1) by (apply grows_aside; auto).
  destruct l as [[c r]|].
  - destruct (make_lineage s1 (origin_of c) d true) as [[s2 n]|] eqn:M;
    [|inversion H; subst; apply grows_refl].
    apply make_lineage_table in M. destruct M as (M1 & M2 & M3 & M4 & M5 & M6).
    destruct (put s2 e _) as [[s3 p]|] eqn:P; [|inversion H; subst; apply grows_refl].
    destruct (L c r eq_refl) as (i & L1 & L2).
    assert (G3 : grows s s3).
    { eapply grows_put; [|exact P|].
      - apply grows_aside; [congruence | eapply frame_trans; eauto].
      - intros. eapply Sent with (right := CALL) (d := d); eauto.
        unfold descends; simpl; intuition. }
    destruct (put (new_grant s3 TRANSFER) e _) as [[s4 p']|] eqn:P'; inversion H; subst;
    [|apply grows_refl].
    apply put_later in P. destruct P as (P1 & P2 & P3 & P4).
    eapply reply_grows; [exact G3 | | | | exact W | exact P'];
    rewrite ?P3, ?P4, ?M3, ?M4; auto; lia.
  - destruct (put (new_grant s1 TRANSFER) e _) as [[s4 p']|] eqn:P'; inversion H; subst;
    [|apply grows_refl].
    eapply reply_grows; [exact G1 | | | | exact W | exact P']; auto; lia.
Qed.

Lemma call_grows : forall s d h l e h' s' x, call s d h l e h' = (s', x) -> grows s s'.
Proof.
  intros s d h l e h' s' x H. unfold call in H.
  destruct (usable s d h CALL) as [w|] eqn:W; [|inversion H; subst; apply grows_refl].
  destruct (usable s e h' RECEIVE) as [m|] eqn:M; [|inversion H; subst; apply grows_refl].
  destruct (lendable s d l) as [out|] eqn:C; [|inversion H; subst; apply grows_refl].
  destruct (is_way w m) eqn:Y; simpl in H; [|inversion H; subst; apply grows_refl].
  apply usable_spec in W. apply usable_spec in M. apply is_way_object in Y.
  eapply deliver_grows; eauto.
  - exists (fst h), w, (fst h'), m. intuition.
  - intros c r ->. apply lendable_spec in C. destruct C as (i & ? & ? & ?). eauto.
Qed.

(** Every capability after a step has a source before it. *)
Theorem step_grows : forall s o, grows s (fst (step s o)).
Proof.
  intros s o. unfold step. destruct (running s (actor o)); [|apply grows_refl].
  destruct (perform s o) as [s' x] eqn:P. simpl.
  eapply grows_shrinks; [|apply reap_shrinks]. destruct o; simpl in P;
  eauto using create_grows, derive_grows, revoke_grows, drop_grows, mint_grows, transfer_grows,
    call_grows, answer_grows.
  inversion P; subst. apply shrinks_grows, end_domain_shrinks.
Qed.
