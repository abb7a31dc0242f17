(** What each building block of [Model.v] does to the capabilities that are held. *)

From Coq Require Import Arith List NArith Bool Lia.
From Phi Require Import Model.
Import ListNotations.

(** Looks at both sides of the first choice in the goal. *)
Ltac split_if := match goal with |- context [if ?b then _ else _] => destruct b eqn:? end.

Definition HeldAt (s : state) (p : place) (c : capability) : Prop :=
  content_of (table s p) = Held c.

(** Equal but for what lineages do: where it comes from, and its child. *)
Definition same (c c' : capability) : Prop :=
  kind_of c' = kind_of c /\ rights c' = rights c /\ object c' = object c /\ root c' = root c
  /\ history c' = history c.

Lemma same_refl : forall c, same c c.
Proof. unfold same; intuition. Qed.

Lemma same_trans : forall a b c, same a b -> same b c -> same a c.
Proof. unfold same; intuition; congruence. Qed.

(** What is written down for ever stays as it is. *)
Record frame (s s' : state) : Prop := {
  frame_sizes : sizes s' = sizes s;
  frame_next_grant : next_grant s <= next_grant s';
  frame_grants : forall n, n < next_grant s -> grants s' n = grants s n;
  frame_next_thing : next_thing s <= next_thing s';
  frame_things : forall n, n < next_thing s ->
    owner (things s' n) = owner (things s n) /\ thing_kind (things s' n) = thing_kind (things s n)
}.

Lemma frame_refl : forall s, frame s s.
Proof. constructor; auto. Qed.

Lemma frame_trans : forall a b c, frame a b -> frame b c -> frame a c.
Proof.
  intros a b c [A1 A2 A3 A4 A5] [B1 B2 B3 B4 B5]. constructor; try congruence; try lia.
  - intros. rewrite B3 by lia. auto.
  - intros n L. destruct (A5 n L), (B5 n ltac:(lia)). split; congruence.
Qed.

(** Nothing new is held. *)
Definition shrinks (s s' : state) : Prop :=
  frame s s' /\ forall p c', HeldAt s' p c' -> exists c, HeldAt s p c /\ same c c'.

Lemma shrinks_refl : forall s, shrinks s s.
Proof. split. apply frame_refl. eauto using same_refl. Qed.

Lemma shrinks_trans : forall a b c, shrinks a b -> shrinks b c -> shrinks a c.
Proof.
  intros a b c [FA A] [FB B]. split. eapply frame_trans; eauto.
  intros p x H. destruct (B _ _ H) as (y & Y & S). destruct (A _ _ Y) as (z & Z & S').
  eauto using same_trans.
Qed.

Lemma fold_shrinks : forall {A} (f : state -> A -> state),
  (forall s x, shrinks s (f s x)) -> forall l s, shrinks s (fold_left f l s).
Proof.
  intros A f H l. induction l; simpl; intros. apply shrinks_refl.
  eapply shrinks_trans; eauto.
Qed.

Lemma place_eq_spec : forall a b, reflect (a = b) (place_eq a b).
Proof.
  intros [a1 a2] [b1 b2]. unfold place_eq; simpl.
  destruct (Nat.eqb_spec a1 b1), (Nat.eqb_spec a2 b2); simpl; constructor; congruence.
Qed.

Lemma place_eq_refl : forall a, place_eq a a = true.
Proof. intros. destruct (place_eq_spec a a); congruence. Qed.

Lemma table_set_content : forall s p c p',
  content_of (table (set_content s p c) p') =
  if place_eq p' p then c else content_of (table s p').
Proof. intros. simpl. destruct (place_eq p' p); reflexivity. Qed.

(** ** Lineages leave the table as it is *)

Lemma close_table : forall s n, table (close s n) = table s.
Proof. intros. unfold close. destruct (live (pool s n)); reflexivity. Qed.

Lemma end_lineage_table : forall s n, table (end_lineage s n) = table s.
Proof.
  intros. unfold end_lineage. destruct (live (pool s n)); auto. simpl. apply close_table.
Qed.

Lemma close_frame : forall s n, frame s (close s n).
Proof. intros. unfold close. destruct (live (pool s n)); constructor; auto. Qed.

Lemma end_lineage_frame : forall s n, frame s (end_lineage s n).
Proof.
  intros. unfold end_lineage, close. destruct (live (pool s n)); constructor; auto.
Qed.

Lemma end_lineage_shrinks : forall s n, shrinks s (end_lineage s n).
Proof.
  intros. split. apply end_lineage_frame. unfold HeldAt. rewrite end_lineage_table.
  eauto using same_refl.
Qed.

Lemma dissolve_frame : forall s n, frame s (dissolve s n).
Proof.
  intros. unfold dissolve, close; simpl. destruct (live (pool s n)); simpl;
  [destruct (live (pool s n))|]; constructor; simpl; auto.
Qed.

Lemma dissolve_table : forall s n, live (pool s n) = true ->
  table (dissolve s n) = fun p => adopt (Some (now_in s n)) (parent (pool s n)) (table s p).
Proof. intros s n H. unfold dissolve. rewrite H. simpl. rewrite close_table. reflexivity. Qed.

Lemma adopt_held : forall from to e c', content_of (adopt from to e) = Held c' ->
  exists c, content_of e = Held c /\ c' = with_origin c (replace_origin from to (origin_of c)).
Proof.
  intros from to e c'. unfold adopt. destruct (content_of e) eqn:E; simpl; try congruence.
  intros H; inversion H; eauto.
Qed.

Lemma dissolve_shrinks : forall s n, shrinks s (dissolve s n).
Proof.
  intros. split. apply dissolve_frame. intros p c'. unfold HeldAt.
  destruct (live (pool s n)) eqn:L.
  - rewrite dissolve_table by auto. intros H. apply adopt_held in H. destruct H as (c & H & ->).
    exists c. split; auto. unfold same; intuition.
  - unfold dissolve. rewrite L. eauto using same_refl.
Qed.

Lemma end_child_shrinks : forall s n b, shrinks s (end_child s n b).
Proof.
  intros s [n|] [|]; simpl; auto using end_lineage_shrinks, dissolve_shrinks, shrinks_refl.
Qed.

(** ** Slots *)

Lemma set_content_shrinks : forall s p x,
  (forall c', x = Held c' -> exists c, HeldAt s p c /\ same c c') -> shrinks s (set_content s p x).
Proof.
  intros s p x H. split. constructor; auto. intros p' c'. unfold HeldAt.
  rewrite table_set_content. destruct (place_eq_spec p' p); subst; eauto using same_refl.
Qed.

Lemma remove_shrinks : forall s p, shrinks s (remove s p).
Proof.
  intros s [d slot]. unfold remove.
  destruct (is_occupied (content_of (table s (d, slot)))); auto using shrinks_refl.
  split. constructor; auto.
  intros p' c'. unfold HeldAt. simpl. destruct (place_eq_spec p' (d, slot)); subst;
  [split_if; simpl; congruence | eauto using same_refl].
Qed.

Lemma bury_shrinks : forall s p b, shrinks s (bury s p b).
Proof.
  intros. unfold bury. destruct (content_of (table s p)); auto using shrinks_refl.
  eapply shrinks_trans; [apply set_content_shrinks | apply end_child_shrinks]. congruence.
Qed.

Lemma sweep_shrinks : forall s, shrinks s (sweep s).
Proof.
  intros. apply fold_shrinks. intros s' p. cbv beta zeta. destruct (content_of (table s' p));
  auto using shrinks_refl. destruct (is_valid _ _); auto using shrinks_refl, bury_shrinks.
Qed.

Lemma end_loan_shrinks : forall s n, shrinks s (end_loan s n).
Proof.
  intros s [n|]; simpl; auto using shrinks_refl. destruct (lends _); auto using shrinks_refl.
  eapply shrinks_trans; [apply end_lineage_shrinks | apply sweep_shrinks].
Qed.

Lemma release_shrinks : forall s p, shrinks s (release s p).
Proof.
  intros. unfold release. destruct (content_of (table s p)); auto using shrinks_refl.
  - eapply shrinks_trans; [|apply end_loan_shrinks].
    eapply shrinks_trans; [apply remove_shrinks | apply end_child_shrinks].
  - eapply shrinks_trans; [apply remove_shrinks | apply end_loan_shrinks].
Qed.

Lemma end_thing_shrinks : forall s n, shrinks s (end_thing s n).
Proof.
  intros. unfold end_thing. split_if; auto using shrinks_refl.
  split; [constructor; simpl; auto | eauto using same_refl].
  intros m _. unfold update. destruct (Nat.eqb_spec m n); subst; auto.
Qed.

Lemma reap_shrinks : forall s, shrinks s (reap s).
Proof. intros. apply fold_shrinks. apply end_thing_shrinks. Qed.

Lemma bury_owned_shrinks : forall s d b, shrinks s (bury_owned s d b).
Proof.
  intros. apply fold_shrinks. intros s' p. cbv beta zeta. destruct (content_of (table s' p));
  auto using shrinks_refl. split_if; auto using shrinks_refl, bury_shrinks.
Qed.

Lemma end_domain_shrinks : forall s d, shrinks s (end_domain s d).
Proof.
  intros. unfold end_domain.
  apply shrinks_trans with (bury_owned s d true). apply bury_owned_shrinks.
  set (called := bury_owned s d true).
  set (dropped := fold_left release (places_of called d) called).
  apply shrinks_trans with dropped. apply (fold_shrinks release). apply release_shrinks.
  apply shrinks_trans with (bury_owned dropped d false). apply bury_owned_shrinks.
  split. constructor; auto. intros p c' H. exists c'. split; [exact H | apply same_refl].
Qed.

(** ** What adds to the table *)

Lemma put_spec : forall s d c s' p, put s d c = Some (s', p) ->
  fst p = d /\ snd p < slots (sizes s) d /\ content_of (table s p) = Free /\
  (forall p', content_of (table s' p') = if place_eq p' p then Held c
                                         else content_of (table s p')) /\
  sizes s' = sizes s /\ pool s' = pool s /\ charged s' = charged s /\ things s' = things s /\
  next_thing s' = next_thing s /\ made s' = made s /\ running s' = running s /\
  grants s' = grants s /\ next_grant s' = next_grant s /\ revoked s' = revoked s /\
  dissolved s' = dissolved s /\ used s' = update (used s) d (S (used s d)).
Proof.
  intros s d c s' p. unfold put. destruct (free s d) as [|slot others]; try congruence.
  destruct (slot <? slots (sizes s) d) eqn:L; simpl; try congruence.
  destruct (content_of (table s (d, slot))) eqn:F; simpl; try congruence.
  intros H; inversion H; subst; clear H. simpl. apply Nat.ltb_lt in L.
  repeat split; auto. intros p'. destruct (place_eq p' (d, slot)); auto.
Qed.

Lemma put_frame : forall s d c s' p, put s d c = Some (s', p) -> frame s s'.
Proof.
  intros s d c s' p H. apply put_spec in H.
  destruct H as (_ & _ & _ & _ & Z & _ & _ & T & NT & _ & _ & G & NG & _).
  constructor; try congruence; try lia; intros; rewrite ?G, ?T; auto.
Qed.

Lemma put_held : forall s d c s' p, put s d c = Some (s', p) ->
  forall p' c', HeldAt s' p' c' -> (p' = p /\ c' = c) \/ HeldAt s p' c'.
Proof.
  intros s d c s' p H p' c'. apply put_spec in H. destruct H as (_ & _ & _ & T & _).
  unfold HeldAt. rewrite T. destruct (place_eq_spec p' p); subst; auto.
  intros E; inversion E; auto.
Qed.

Lemma make_lineage_table : forall s o d b s' n, make_lineage s o d b = inl (s', n) ->
  table s' = table s /\ frame s s' /\ things s' = things s /\ next_thing s' = next_thing s /\
  grants s' = grants s /\ next_grant s' = next_grant s.
Proof.
  intros s o d b s' n. unfold make_lineage. split_if; try congruence.
  split_if; try congruence. destruct (find _ _); try congruence.
  intros H; inversion H; subst. repeat split; auto.
Qed.

Lemma usable_spec : forall s d h r c, usable s d h r = inl c ->
  HeldAt s (d, fst h) c /\ is_valid s (origin_of c) = true /\ subset r (rights c) = true.
Proof.
  intros s d h r c. unfold usable, find_handle.
  split_if; try congruence.
  destruct (content_of (table s (d, fst h))) eqn:E; try congruence.
  destruct (is_valid s (origin_of held)) eqn:V; try congruence.
  destruct (subset r (rights held)) eqn:R; try congruence.
  intros H; inversion H; subst. auto.
Qed.

Lemma new_thing_spec : forall s d k b s', new_thing s d k b = Some s' ->
  table s' = table s /\ frame s s' /\ next_thing s' = S (next_thing s) /\
  owner (things s' (next_thing s)) = d /\ thing_kind (things s' (next_thing s)) = k /\
  grants s' = grants s /\ next_grant s' = next_grant s /\ pool s' = pool s /\
  (b = false -> 0 < object_quota (sizes s) d k).
Proof.
  intros s d k b s'. unfold new_thing. split_if; try congruence.
  intros H; inversion H; subst; clear H. simpl. unfold update. rewrite Nat.eqb_refl.
  repeat split; simpl; auto; try (destruct (Nat.eqb_spec n (next_thing s)); auto; lia).
  intros ->. simpl in *.
  match goal with E : (_ <=? _) = false |- _ => apply Nat.leb_gt in E; lia end.
Qed.

(** ** Rights *)

Lemma subset_refl : forall a, subset a a = true.
Proof. intros. unfold subset. rewrite N.land_diag. apply N.eqb_refl. Qed.

Lemma subset_trans : forall a b c, subset a b = true -> subset b c = true -> subset a c = true.
Proof.
  unfold subset. intros a b c. rewrite !N.eqb_eq. intros A B. rewrite <- A at 1.
  rewrite <- N.land_assoc. rewrite B. assumption.
Qed.

Lemma subset_bit : forall a b n, subset a b = true -> N.testbit a n = true ->
  N.testbit b n = true.
Proof.
  unfold subset. intros a b n. rewrite N.eqb_eq. intros A T. rewrite <- A in T.
  rewrite N.land_spec in T. apply andb_prop in T. tauto.
Qed.

Lemma subset_of_bits : forall a b,
  (forall n, N.testbit a n = true -> N.testbit b n = true) -> subset a b = true.
Proof.
  intros a b H. unfold subset. apply N.eqb_eq. apply N.bits_inj. intros n.
  rewrite N.land_spec. destruct (N.testbit a n) eqn:E; auto. rewrite H; auto.
Qed.

Lemma subset_lor : forall a b c, subset (N.lor a b) c = true ->
  subset a c = true /\ subset b c = true.
Proof.
  intros a b c H. split; apply subset_of_bits; intros n T; eapply subset_bit; eauto;
  rewrite N.lor_spec, T; auto using orb_true_r.
Qed.

Lemma subset_land : forall a b c, subset a c = true -> subset (N.land a b) c = true.
Proof.
  intros a b c H. apply subset_of_bits. intros n T. rewrite N.land_spec in T.
  apply andb_prop in T. eapply subset_bit; intuition eauto.
Qed.
