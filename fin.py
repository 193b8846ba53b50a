import numpy as np, sys, warnings
from pathlib import Path
from contextlib import closing
from rrl.recording.plan import Plan
from rrl.recording.record import Recorder
from rrl.recording.profile import read_profile
from rrl.recording.evidence import by_finals, usual_settings
from rrl.recording.truth import judge_half
from rrl.tuning.episode import Episode
class Fake:
    start_s=1.0
    def configure(self,c,rng): pass
    def measure(self,c,arr,rng,**k):
        lat=0.01*(1+c["inter_op"]*0.1+c["batch_threads"]*.3)*rng.lognormal(0,.05,len(arr))
        return Episode(dict(c),arr,lat,np.zeros(len(arr),int))
class Quiet:
    def start(self): pass
    def look(self): return 0.0
for passes in (2,1):
    plan=Plan("keyword",{"inter_op":(1,2,3),"batch_threads":(0,1,2)},(50.0,),requests=20,passes=passes,finalists=3)
    f=Path(f"/tmp/rev_oper/fin{passes}")
    rng=np.random.default_rng(0)
    with closing(Recorder(plan,f,Quiet())) as r:
        n=sum(1 for _ in r.run(Fake(),rng)); r.finish()
    p=read_profile(f); print(passes,n,len(p.table),len(p.grid),"by_finals:",by_finals(p,50.0), p.description.get("finals"))
    for h in (0,1):
        try: t=judge_half(p,50.0,h); print(h,np.nansum(t.good),np.isnan(t.cost).sum())
        except Exception as e: print(h,type(e),e)
