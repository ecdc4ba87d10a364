"""The vocabulary of EMG and nerve-conduction tables.

One line per term: canonical name | English | Chinese | other spellings, with `;` between them; an indented line
continues the one above. The canonical name, the English and the Chinese one are spellings too. Case, blanks and
punctuation do not count (`terms.fold`), nor a trailing "nerve", "muscle" or 神经. Spellings printed wrongly in the
figure of ETM-17k (APE, Reroncal, Kat, Recurit) stand among the others.
"""

NERVES = """
median | Median | 正中神经 | medianus; nervus medianus; MN
ulnar | Ulnar | 尺神经 | ulnaris; UN
radial | Radial | 桡神经 | radialis; RN
superficial_radial | Superficial radial | 桡浅神经 | 桡神经浅支; superf. radial; sup. radial; SRN
posterior_interosseous | Posterior interosseous | 骨间后神经 | 桡神经深支; 骨间背侧神经; PIN
anterior_interosseous | Anterior interosseous | 骨间前神经 | 骨间掌侧神经; AIN
dorsal_ulnar_cutaneous | Dorsal ulnar cutaneous | 尺神经手背支 | 手背尺侧皮神经; DUC
median_palmar | Median palmar branch | 正中神经掌支 | 正中神经掌皮支; palmar cutaneous median
musculocutaneous | Musculocutaneous | 肌皮神经 | musculocut.; MCN
axillary | Axillary | 腋神经 | circumflex
suprascapular | Suprascapular | 肩胛上神经 | SSN
dorsal_scapular | Dorsal scapular | 肩胛背神经 |
long_thoracic | Long thoracic | 胸长神经 | LTN
thoracodorsal | Thoracodorsal | 胸背神经 |
accessory | Accessory | 副神经 | spinal accessory; SAN
phrenic | Phrenic | 膈神经 |
medial_antebrachial_cutaneous | Medial antebrachial cutaneous | 前臂内侧皮神经 | MABC; MAC;
    medial cutaneous of forearm
lateral_antebrachial_cutaneous | Lateral antebrachial cutaneous | 前臂外侧皮神经 | LABC; LAC;
    lateral cutaneous of forearm
posterior_antebrachial_cutaneous | Posterior antebrachial cutaneous | 前臂后皮神经 | PABC
facial | Facial | 面神经 | N. VII; facialis
trigeminal | Trigeminal | 三叉神经 |
hypoglossal | Hypoglossal | 舌下神经 |
greater_auricular | Greater auricular | 耳大神经 | great auricular
peroneal | Peroneal | 腓总神经 | common peroneal; fibular; common fibular; peroneus; 腓神经; Reroncal; Peronael
superficial_peroneal | Superficial peroneal | 腓浅神经 | superficial fibular; superf. peroneal; sup. peroneal;
    腓浅皮神经; SPN
deep_peroneal | Deep peroneal | 腓深神经 | deep fibular; DPN
tibial | Tibial | 胫神经 | posterior tibial; post. tibial; tibialis; 胫后神经
sural | Sural | 腓肠神经 | suralis; 腓肠皮神经
saphenous | Saphenous | 隐神经 |
femoral | Femoral | 股神经 | femoralis
lateral_femoral_cutaneous | Lateral femoral cutaneous | 股外侧皮神经 | lateral cutaneous of thigh; LFCN; LFC
obturator | Obturator | 闭孔神经 |
sciatic | Sciatic | 坐骨神经 |
medial_plantar | Medial plantar | 足底内侧神经 | 跖内侧神经; MPN
lateral_plantar | Lateral plantar | 足底外侧神经 | 跖外侧神经; LPN
pudendal | Pudendal | 阴部神经 |
"""

LOWER_LIMB = frozenset(("peroneal", "superficial_peroneal", "deep_peroneal", "tibial", "sural", "saphenous", "femoral",
                        "lateral_femoral_cutaneous", "obturator", "sciatic", "medial_plantar", "lateral_plantar",
                        "pudendal"))
HEAD = frozenset(("facial", "trigeminal", "hypoglossal", "greater_auricular"))

MUSCLES = """
apb | APB | 拇短展肌 | APE; abductor pollicis brevis; Abd.Poll.Brev; Abd.Pol.Brev; Abd.Poll.B; 拇指短展肌;
    外展拇短肌
adm | ADM | 小指展肌 | ADQ; ADV; abductor digiti minimi; abductor digiti quinti; Abd.Dig.Min; Abd.Dig.V;
    外展小指肌; 小指外展肌
fdi | Dors.Int.I | 第一背侧骨间肌 | FDI; IDI; first dorsal interosseous; 1st dorsal interosseous; Dors.Int.1;
    第1背侧骨间肌; 第一骨间背侧肌; 第一骨间肌
palmar_interosseous | Palm.Int | 骨间掌侧肌 | palmar interosseous; 掌侧骨间肌
lumbrical_2 | Lumbrical II | 第二蚓状肌 | second lumbrical; 2nd lumbrical; 2L; 第2蚓状肌
opponens_pollicis | Opp.Poll | 拇对掌肌 | opponens pollicis; 拇指对掌肌; 对掌拇肌
fpb | Flex.Poll.Brev | 拇短屈肌 | FPB; flexor pollicis brevis; 拇指短屈肌
adductor_pollicis | Add.Poll | 拇收肌 | adductor pollicis; 拇内收肌
fpl | Flex.Poll.Long | 拇长屈肌 | FPL; flexor pollicis longus; 拇指长屈肌
fds | Flex.Dig.Sup | 指浅屈肌 | FDS; flexor digitorum superficialis; flexor digitorum sublimis; Flex.Dig.Subl
fdp | Flex.Dig.Prof | 指深屈肌 | FDP; flexor digitorum profundus
fcr | Flex.Carp.Rad | 桡侧腕屈肌 | FCR; flexor carpi radialis; 桡侧屈腕肌
fcu | Flex.Carp.Uln | 尺侧腕屈肌 | FCU; flexor carpi ulnaris; 尺侧屈腕肌
palmaris_longus | Palm.Long | 掌长肌 | palmaris longus; PL
pronator_teres | Pron.Teres | 旋前圆肌 | pronator teres; PT
pronator_quadratus | Pron.Quad | 旋前方肌 | pronator quadratus; PQ
ecr | Ext.Carp.Rad | 桡侧腕伸肌 | ECR; extensor carpi radialis; 桡侧伸腕肌
ecrl | Ext.Carp.Rad.Long | 桡侧腕长伸肌 | ECRL; extensor carpi radialis longus; 桡侧伸腕长肌
ecrb | Ext.Carp.Rad.Brev | 桡侧腕短伸肌 | ECRB; extensor carpi radialis brevis; 桡侧伸腕短肌
ecu | Ext.Carp.Uln | 尺侧腕伸肌 | ECU; extensor carpi ulnaris; 尺侧伸腕肌
edc | Ext.Dig.Com | 指总伸肌 | EDC; extensor digitorum communis; extensor digitorum; 伸指总肌; 指伸肌
eip | Ext.Ind.Prop | 示指伸肌 | EIP; EI; extensor indicis proprius; extensor indicis; 示指固有伸肌; 食指伸肌;
    食指固有伸肌; 固有示指伸肌
epl | Ext.Poll.Long | 拇长伸肌 | EPL; extensor pollicis longus; 拇指长伸肌
epb | Ext.Poll.Brev | 拇短伸肌 | EPB; extensor pollicis brevis; 拇指短伸肌
apl | Abd.Poll.Long | 拇长展肌 | APL; abductor pollicis longus; 拇指长展肌
brachioradialis | Brachiorad | 肱桡肌 | brachioradialis; BR
supinator | Supinator | 旋后肌 |
anconeus | Anconeus | 肘肌 | 肘后肌
biceps_brachii | Biceps | 肱二头肌 | biceps brachii; biceps br.; BB
triceps_brachii | Triceps | 肱三头肌 | triceps brachii; triceps br.; TB
brachialis | Brachialis | 肱肌 |
deltoid | Deltoid | 三角肌 | deltoideus
supraspinatus | Supraspin | 冈上肌 | supraspinatus; 岗上肌
infraspinatus | Infraspin | 冈下肌 | infraspinatus; 岗下肌
teres_major | Teres major | 大圆肌 |
trapezius | Trapezius | 斜方肌 | 上斜方肌; upper trapezius
rhomboid | Rhomboid | 菱形肌 | rhomboideus; rhomboids
levator_scapulae | Lev.Scap | 肩胛提肌 | levator scapulae; 提肩胛肌
serratus_anterior | Serr.Ant | 前锯肌 | serratus anterior
pectoralis_major | Pect.Maj | 胸大肌 | pectoralis major; pectoralis
latissimus_dorsi | Lat.Dorsi | 背阔肌 | latissimus dorsi
sternocleidomastoid | SCM | 胸锁乳突肌 | sternocleidomastoid; Sternocleid; Stern.Cleid.Mast; sternomastoid
tongue | Tongue | 舌肌 | genioglossus; 颏舌肌
masseter | Masseter | 咬肌 | 嚼肌
temporalis | Temporalis | 颞肌 |
frontalis | Frontalis | 额肌 |
orbicularis_oculi | Orb.Oculi | 眼轮匝肌 | orbicularis oculi; Orbic.Oculi
orbicularis_oris | Orb.Oris | 口轮匝肌 | orbicularis oris; Orbic.Oris
nasalis | Nasalis | 鼻肌 |
mentalis | Mentalis | 颏肌 |
diaphragm | Diaphragm | 膈肌 |
intercostal_muscle | Intercostal muscle | 肋间肌 | intercostals
rectus_abdominis | Rect.Abd | 腹直肌 | rectus abdominis; RA
external_anal_sphincter | Anal sphincter | 肛门外括约肌 | external anal sphincter; EAS; 肛门括约肌
bulbocavernosus | Bulbocavernosus | 球海绵体肌 |
iliopsoas | Iliopsoas | 髂腰肌 |
tensor_fasciae_latae | Tens.Fasc.Lat | 阔筋膜张肌 | tensor fasciae latae; TFL
gluteus_maximus | Glut.Max | 臀大肌 | gluteus maximus; GMax
gluteus_medius | Glut.Med | 臀中肌 | gluteus medius; GMed
quadriceps | Quadriceps | 股四头肌 | quadriceps femoris; Quad.Fem
rectus_femoris | Rect.Fem | 股直肌 | rectus femoris; RF
vastus_lateralis | Vast.Lat | 股外侧肌 | vastus lateralis; VL; 股外肌
vastus_medialis | Vast.Med | 股内侧肌 | vastus medialis; VM; 股内肌
vastus_intermedius | Vast.Int | 股中间肌 | vastus intermedius
adductor_longus | Add.Long | 长收肌 | adductor longus; 内收长肌
adductor_magnus | Add.Mag | 大收肌 | adductor magnus; 内收大肌
adductors | Adductors | 内收肌 | hip adductors; 股内收肌; 大腿内收肌
sartorius | Sartorius | 缝匠肌 |
biceps_femoris | Biceps fem | 股二头肌 | biceps femoris; BF
biceps_femoris_short | Biceps fem.short head | 股二头肌短头 | biceps femoris short head;
    short head of biceps femoris
semitendinosus | Semitend | 半腱肌 | semitendinosus
semimembranosus | Semimemb | 半膜肌 | semimembranosus
tibialis_anterior | Tib.Ant | 胫前肌 | tibialis anterior; anterior tibialis; TA; 胫骨前肌
tibialis_posterior | Tib.Post | 胫后肌 | tibialis posterior; posterior tibialis; TP; 胫骨后肌
gastrocnemius | Gastroc | 腓肠肌 | gastrocnemius; GC
gastrocnemius_medial | Gastroc.Med | 腓肠肌内侧头 | medial gastrocnemius; gastrocnemius medial head; 腓肠肌内侧;
    内侧腓肠肌; MG
gastrocnemius_lateral | Gastroc.Lat | 腓肠肌外侧头 | lateral gastrocnemius; gastrocnemius lateral head; 腓肠肌外侧;
    外侧腓肠肌; LG
soleus | Soleus | 比目鱼肌 |
peroneus_longus | Peron.Long | 腓骨长肌 | peroneus longus; fibularis longus; 腓长肌
peroneus_brevis | Peron.Brev | 腓骨短肌 | peroneus brevis; fibularis brevis; 腓短肌
edl | Ext.Dig.Long | 趾长伸肌 | EDL; extensor digitorum longus; 伸趾长肌
ehl | Ext.Hall.Long | 踇长伸肌 | EHL; extensor hallucis longus; 𧿹长伸肌; 拇趾长伸肌; 足拇长伸肌; 伸踇长肌
fdl | Flex.Dig.Long | 趾长屈肌 | FDL; flexor digitorum longus; 屈趾长肌
fhl | Flex.Hall.Long | 踇长屈肌 | FHL; flexor hallucis longus; 𧿹长屈肌; 拇趾长屈肌; 足拇长屈肌
fhb | Flex.Hall.Brev | 踇短屈肌 | FHB; flexor hallucis brevis; 𧿹短屈肌
edb | EDB | 趾短伸肌 | extensor digitorum brevis; Ext.Dig.Brev; 伸趾短肌; EOB
ah | AH | 踇展肌 | AHB; abductor hallucis; abductor hallucis brevis; Abd.Hall; 拇展肌; 𧿹展肌; 踇外展肌; 拇趾展肌;
    足拇展肌; 踇短展肌
adm_pedis | ADM pedis | 小趾展肌 | ADQP; abductor digiti minimi pedis; abductor digiti quinti pedis; 足小指展肌
fdi_pedis | Dors.Int.Ped.I | 足第一背侧骨间肌 | first dorsal interosseous pedis; FDIP
paraspinal_cervical | Cervical paraspinal | 颈段椎旁肌 | cervical PSP; 颈脊旁肌; 颈椎旁肌; 颈段脊旁肌; 颈棘旁肌
paraspinal_thoracic | Thoracic paraspinal | 胸段椎旁肌 | thoracic PSP; 胸脊旁肌; 胸椎旁肌; 胸段脊旁肌; 胸棘旁肌
paraspinal_lumbar | Lumbar paraspinal | 腰段椎旁肌 | lumbar PSP; 腰脊旁肌; 腰椎旁肌; 腰段脊旁肌; 腰棘旁肌
""" + "\n".join(f"paraspinal_{level.lower()} | {level} paraspinal | {level}椎旁肌 | "
                f"{level} PSP; {level}脊旁肌; {level}棘旁肌; paraspinal {level}; 脊旁肌{level}"
                for level in [f"{part}{number}" for part, last in (("C", 8), ("T", 12), ("L", 5), ("S", 3))
                              for number in range(1, last + 1)])

SITES = """
wrist | Wrist | 腕 | 腕部; 手腕; 腕关节
palm | Palm | 掌 | 手掌; 掌部; 掌心; mid palm
forearm | Forearm | 前臂 | 前臂部
mid_forearm | Mid forearm | 前臂中段 | 前臂中部; 前臂中点; middle forearm
elbow | Elbow | 肘 | 肘部; 肘窝; 肘关节; antecubital fossa; cubital fossa
below_elbow | Below Elbow | 肘下 | B.Elbow; BE; bel elbow; 肘下部
above_elbow | Above Elbow | 肘上 | A.Elbow; AE; abv elbow; 肘上部
upper_arm | Upper arm | 上臂 | arm; 臂
spiral_groove | Spiral groove | 桡神经沟 | radial groove; 桡沟; 螺旋沟
axilla | Axilla | 腋 | 腋窝; 腋下; 腋部
erbs_point | Erb's point | Erb点 | Erb; Erbs; Erb氏点; 欧勃点; 锁骨上; 锁骨上窝; supraclavicular fossa;
    supraclavicular
neck | Neck | 颈 | 颈部; posterior border of sternocleidomastoid; 胸锁乳突肌后缘
mastoid | Mastoid | 乳突 | stylomastoid foramen; 茎乳孔
behind_ear | Behind ear | 耳后 | retroauricular; postauricular
in_front_of_ear | In front of ear | 耳前 | preauricular; tragus; 耳屏前
digit_1 | Digit I | 拇指 | Dig I; digit 1; D1; thumb; finger 1; 第一指; 第1指; 指I; 指1; I指
digit_2 | Digit II | 示指 | Dig II; digit 2; D2; index; index finger; finger 2; 食指; 第二指; 第2指; 指II; 指2; II指
digit_3 | Digit III | 中指 | Dig III; digit 3; D3; middle finger; finger 3; 第三指; 第3指; 指III; 指3; III指
digit_4 | Digit IV | 环指 | Dig IV; digit 4; D4; ring finger; finger 4; 无名指; 第四指; 第4指; 指IV; 指4; IV指
digit_5 | Digit V | 小指 | Dig V; digit 5; D5; little finger; finger 5; 第五指; 第5指; 指V; 指5; V指
dorsum_of_hand | Opisthenar | 手背 | dorsum of hand; dorsal hand; hand dorsum; back of hand
snuffbox | Snuffbox | 鼻烟窝 | anatomical snuffbox; 鼻咽窝; 解剖鼻烟窝
first_web_space | First web space | 虎口 | web space; 1st web; 第一指蹼
ankle | Ankle | 踝 | 踝部; 足踝; 踝关节; 踝前
medial_malleolus | Medial malleolus | 内踝 | med. malleolus; 内踝后; medial ankle
lateral_malleolus | Lateral malleolus | 外踝 | lat. malleolus; 外踝后; 外踝下; lateral ankle
dorsum_of_foot | Dorsum of foot | 足背 | dorsal foot; foot dorsum; foot
sole | Sole | 足底 | plantar; 足底部
toe_1 | Toe I | 踇趾 | big toe; great toe; hallux; 拇趾; 𧿹趾; 大脚趾; toe 1; 足拇趾
toe_5 | Toe V | 小趾 | little toe; toe 5
calf | Calf | 小腿 | lower leg; mid calf; leg; 小腿后; 小腿中部; 小腿后侧; 小腿外侧
below_fibular_head | Below fibular head | 腓骨小头下 | B.fib.head; below fib. head; BFH; 腓骨头下
fibular_head | Fibular head | 腓骨小头 | fib. head; fibula head; caput fibulae; FH; 腓骨头; 腓骨小头处; 腓小头
above_fibular_head | Above fibular head | 腓骨小头上 | A.fib.head; above fib. head; AFH; 腓骨头上
knee | Knee | 膝 | 膝部; 膝关节
below_knee | Below knee | 膝下 |
above_knee | Above knee | 膝上 |
popliteal_fossa | Popliteal fossa | 腘窝 | popliteal; pop. fossa; poplit. fossa; 国窝; 腘
thigh | Thigh | 大腿 | 股
lateral_thigh | Lateral thigh | 大腿外侧 | 股外侧
groin | Groin | 腹股沟 | inguinal; inguinal ligament; 腹股沟韧带
anterior_superior_iliac_spine | Anterior superior iliac spine | 髂前上棘 | ASIS
gluteal_fold | Gluteal fold | 臀横纹 | gluteal; 臀部; 臀
"""

TYPES = """
motor | Motor | 运动 | 运动传导; 运动神经; 运动神经传导; MCV; MNCV; MCS; Mot; M
sensory | Sensory | 感觉 | 感觉传导; 感觉神经; 感觉神经传导; SCV; SNCV; SCS; Sens; S
f_wave | F-wave | F波 | F wave; F-waves; F response; F反应; F
h_reflex | H-reflex | H反射 | H reflex; H波; H wave; H
"""

MEASURES = """
lat | Lat | 潜伏期 | latency; Kat; distal latency; 末端潜伏期; 远端潜伏期; 潜伏时; DML; DL
amp | Amp | 波幅 | amplitude; Ampl; 幅度; 振幅; 幅值
cv | CV | 速度 | conduction velocity; velocity; 传导速度; NCV; Vel
"""

SIDES = """
left | L | 左 | left; Lt; 左侧; 左边; left side; left sided; left hand; links; li; sin; sinister; sinistra; gauche;
    izquierda; izquierdo; esquerda; esquerdo
right | R | 右 | right; Rt; 右侧; 右边; right side; right sided; right hand; rechts; re; dx; dex; dext; dexter; destra;
    droit; droite; derecha; derecho; direita; direito
"""

COLUMNS = """
muscle | Examined Muscle | 被检肌肉 | muscle; 肌肉; 肌肉名称
fibs | Fibs | 纤颤 | fib; fibrillation; fibrillations; 纤颤电位; 纤颤波
psw | PSW | 正锐 | PSWs; positive sharp wave; positive sharp waves; 正锐波; 正相波; 正尖波
fascics | Fascics | 束颤 | fasc; fascic; fasciculation; fasciculations; 束颤电位
others | Others | 其他 | other; 其它
polyph | MUP Polyph | MUP多相 | polyph; polyphasic; polyphasia; 多相; 多相波; 多相电位
form | MUP Form | MUP形态 | form; 形态; MUP
recruitment | Recruitment | 募集相 | recruit; Recurit; 募集; 募集反应; recruitment pattern
nerve | Examined Nerve | 被检神经 | nerve; 神经; 神经名称
type | Type | 项目 | 类型; 检查项目
stim | Stim | 刺激 | stimulation; 刺激点; 刺激部位
rec | Rec | 记录 | recording; 记录点; 记录部位
"""

RECRUITMENT = """
interference | Interference | 干扰相 | 干扰; full interference; full; 完全干扰相
mixed | Mix | 混合相 | mixed; 混合; intermediate
single_mixed | Single-mixed | 单纯-混合相 | 单混相; 混合-单纯相; 单纯混合; single mix
single | Single | 单纯相 | 单纯; simple; discrete; 单个相
reduced | Reduced | 募集减少 | 减少; decreased; 募集减弱; 减弱相
early | Early | 病理干扰相 | 早募集; early recruitment; pathological interference; 病干相
none | No MUP | 无MUP | no units; 无运动单位; 无运动单位电位; 无收缩; no activity
"""

FORMS = """
large | Large | 宽大 | 高大; 巨大; 巨大电位; 宽大电位; 长时限高波幅; 时限增宽波幅增高; giant;
    long duration high amplitude; neurogenic
small | Small | 短小 | 短小电位; 窄小; 短时限低波幅; 时限缩短波幅降低; short duration low amplitude; myopathic
normal | Normal | 正常 | 未见异常
"""

OTHERS = """
complex_repetitive_discharge | CRD | 复杂重复放电 | complex repetitive discharge; complex repetitive discharges;
    CRDs; 高频放电
myotonic_discharge | Myotonic discharge | 肌强直放电 | myotonic discharges; myotonia; 肌强直电位; 强直放电
myokymia | Myokymia | 肌颤搐放电 | 肌颤搐; myokymic discharge
"""
